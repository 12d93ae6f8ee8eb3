"""Rows of tasks and corpora, damaged, to `load_task` and `load_corpus`.

No checksum lies beside somebody's own data. Guarded are the rules of the formats: a row with too few or too many cells,
a label that is none, a text that is missing, bytes that are no UTF-8, a half JSON object or Parquet file, a name that
stands twice in a header or an object, an empty file. They are refused, or counted and named in the task's source.
Changes that mean the same, such as another order of the columns, have to give the same. Anything else may give others.
"""

import json
import os
import shutil
from csv import writer
from io import StringIO

import damage
import outcomes
from headers import WORDS

TASKS = {
    "cola": (("sentence",), (0, 1)),
    "sst2": (("sentence",), (0, 1)),
    "rte": (("sentence1", "sentence2"), ("entailment", "not_entailment")),
    "stsb": (("sentence1", "sentence2"), (0.0, 2.5, 5.0)),
    "mnli": (("premise", "hypothesis"), (0, 1, 2)),
    "qqp": (("question1", "question2"), (0, 1)),
}
FORMATS = ("tsv", "csv", "jsonl", "parquet")
BAD_LABELS = (None, "", "nan", "NULL", "7", "-3", "yes", "½", "1e0", "0x1", float("nan"), [1], {"a": 1})


def rows_of(task, count, shift=0):
    "Rows of a task as dictionaries."
    columns, labels = TASKS[task]

    def text(row, column):
        words = [WORDS[(row * 5 + column + k * 3) % len(WORDS)] for k in range(4 + row % 5)]
        return " ".join(words) + (' "so", é' if row % 4 == 0 else "")

    return [
        {**{name: text(i + shift, j) for j, name in enumerate(columns)}, "label": labels[i % len(labels)]}
        for i in range(count)
    ]


def written(rows, suffix, path):
    "Rows in a format; Parquet is written to `path` and read back as bytes."
    if suffix == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    names = list(rows[0])
    if suffix == "tsv":
        return (
            "\n".join("\t".join(map(str, line)) for line in [names, *(row.values() for row in rows)]).encode() + b"\n"
        )
    if suffix == "csv":
        file = StringIO()
        writer(file, lineterminator="\n").writerows([names, *(row.values() for row in rows)])
        return file.getvalue().encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


class Kind:
    def __init__(self, folder):
        self.data, self.sound, self.texts = folder / "data", {}, folder / "texts"
        os.environ["CODESIGN_DATA"] = str(self.data)
        with outcomes.listening() as heard:
            for task in TASKS:
                for suffix in FORMATS:
                    self._put(task, suffix)
                    self.sound[task, suffix] = self._task(task)[0]
            for suffix in ("txt", *FORMATS):
                for name in ("text", "wikitext-2"):
                    self._put_text(name, suffix)
                    self.sound[name, suffix] = self._corpus(name)[0]
        self.heard = frozenset(heard)

    # sound files

    def _put(self, task, suffix):
        "A task's files in one format; their bytes and rows by split."
        shutil.rmtree(self.data, ignore_errors=True)
        folder = self.data / task
        folder.mkdir(parents=True)
        self.rows = {"train": rows_of(task, 12), "validation": rows_of(task, 6, 50)}
        for split, rows in self.rows.items():
            (folder / f"{split}.{suffix}").write_bytes(written(rows, suffix, folder / f"{split}.{suffix}"))
        return folder

    def _put_text(self, name, suffix):
        shutil.rmtree(self.data, ignore_errors=True)
        folder = self.data / name
        folder.mkdir(parents=True)
        lines = {"train": 30, "validation": 8, "test": 8}
        self.rows = {
            split: [{"text": row["sentence"], "number": i} for i, row in enumerate(rows_of("cola", count, count))]
            for split, count in lines.items()
        }
        for split, rows in self.rows.items():
            path = folder / f"{split}.{suffix}"
            path.write_bytes(
                "\n".join(row["text"] for row in rows).encode() + b"\n"
                if suffix == "txt"
                else written(rows, suffix, path)
            )
        return folder

    # readers

    def _task(self, task):
        from codesign.engine.tasks import load_task

        found = load_task(task, "wikitext-2", online=False)
        return found.hash, found.source.partition(" left out")[0].partition("; ")[
            2
        ] if "left out" in found.source else ""

    def _corpus(self, name):
        from codesign.engine.corpora import load_corpus

        found = load_corpus(f"text:{self.data / name}" if name == "text" else name, online=False)
        return [found.hash, {split: list(documents) for split, documents in found.documents.items()}], ""

    # damage

    def trial(self, rng, place):
        task = rng.random() < 0.65
        name = rng.choice(list(TASKS)) if task else rng.choice(("text", "wikitext-2"))
        suffix = rng.choice(FORMATS if task else ("txt", *FORMATS))
        folder = self._put(name, suffix) if task else self._put_text(name, suffix)
        split = rng.choice(list(self.rows))
        path = folder / f"{split}.{suffix}"
        rows = self.rows[split]
        ways = [self._bytes, self._encoding, self._form]
        if suffix != "txt":
            ways += [self._cells, self._cells, self._cells, self._same, self._columns]
        if suffix in ("tsv", "jsonl", "csv"):
            ways += [self._torn, self._torn]
        content, said, guarded = rng.choice(ways)(rng, rows, suffix, path, task)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        call = (lambda: self._task(name)) if task else (lambda: self._corpus(name))
        call.__qualname__ = f"{suffix} of a {'task' if task else 'corpus'}: {said.split(':')[0]}"
        return outcomes.Trial(f"{name}/{path.name}: {said}", call, self.sound[name, suffix], guarded, self.heard)

    def _bytes(self, rng, rows, suffix, path, task):
        content, said = damage.of_bytes(path.read_bytes(), rng)
        empty = not content.strip()
        return content, said, empty

    def _encoding(self, rng, rows, suffix, path, task):
        data = path.read_bytes()
        if suffix == "parquet":
            return data[: rng.randrange(1, len(data))], "half of the file", True
        place = data.index(b"\n", rng.randrange(len(data) - 2)) if rng.random() < 0.5 else len(data) // 2
        odd = {
            "bytes that are no UTF-8": data[:place] + b"\xff\xfe\xfa" + data[place:],
            "Latin-1": data.decode().encode("latin-1"),
            "UTF-16": data.decode().encode("utf-16"),
            "half of a letter": data[:place] + b"\xc3" + data[place:],
            "an encoded surrogate": data[:place] + b"\xed\xa0\x80" + data[place:],
        }
        said = rng.choice(list(odd))
        return odd[said], said, odd[said] != data

    def _form(self, rng, rows, suffix, path, task):
        data = path.read_bytes()
        odd = {
            "an empty file": b"",
            "only the first line": data.partition(b"\n")[0] + b"\n",
            "the file twice": data + data,
            "only blank lines": b"\n\n\n",
        }
        said = rng.choice(list(odd))
        empty = (
            said in ("an empty file", "only blank lines") or said == "only the first line" and suffix in ("tsv", "csv")
        )
        return odd[said], said, empty

    def _cells(self, rng, rows, suffix, path, task):
        "One cell that is missing, empty, or no label or text."
        rows = [dict(row) for row in rows]
        chosen = rng.randrange(len(rows))
        name = rng.choice([name for name in rows[0] if task or name == "text"])
        value = rng.choice(BAD_LABELS if name == "label" else (None, 5, [], {"a": 1}, True))
        if rng.random() < 0.15 and suffix == "jsonl":
            del rows[chosen][name]
            return written(rows, suffix, path), f"a key missing: {name} of row {chosen + 1}", True
        if suffix in ("tsv", "csv"):
            value = rng.choice([v for v in BAD_LABELS if isinstance(v, str)]) if name == "label" else ""
        rows[chosen][name] = value
        if suffix == "parquet":
            if name == "label":
                rows, value = self._typed_labels(rng, rows, chosen)
            elif value is not None:
                rows = [row | {name: value} for row in rows]
        blank = (
            name != "label" and value == "" and (not task or path.parent.name == "qqp")
        )  # published qqp lacks texts, corpora have blank lines
        guarded = not blank and not (value == "1e0" and path.parent.name == "stsb")  # a score is any number
        return written(rows, suffix, path), f"a cell that is none: {name} of row {chosen + 1} as {value!r}", guarded

    def _typed_labels(self, rng, rows, chosen):
        "Labels of one type, as Parquet wants them, with one that is none."
        kind, value = rng.choice(
            (
                (float, float("nan")),
                (float, None),
                (int, 9),
                (str, "yes"),
                (str, ""),
                (int, None),
                (float, 0.25 if isinstance(rows[0]["label"], int) else 77.0),
            )
        )
        if isinstance(rows[0]["label"], str):
            kind, value = str, rng.choice(("yes", "", None))
        return [row | {"label": value if i == chosen else kind(row["label"])} for i, row in enumerate(rows)], value

    def _same(self, rng, rows, suffix, path, task):
        "What means the same: the order of columns, a column more, line ends, a mark before, labels as whole floats."
        rows = [dict(row) for row in rows]
        how = rng.choice(
            (
                "columns turned round",
                "a column more",
                "a mark before it",
                "line ends of Windows",
                "blank lines at the end",
                "labels as floats",
            )
        )
        if how == "columns turned round":
            rows = [dict(reversed(row.items())) for row in rows]
        if how == "a column more":
            rows = [row | {"more": str(i)} for i, row in enumerate(rows)]
        if how == "labels as floats" and task and not isinstance(rows[0]["label"], str):
            rows = [row | {"label": float(row["label"])} for row in rows]
        data = written(rows, suffix, path)
        if suffix == "parquet":
            return data, f"the same: {how}", True
        if how == "a mark before it":
            data = b"\xef\xbb\xbf" + data
        if how == "line ends of Windows":
            data = data.replace(b"\n", b"\r\n")
        if how == "blank lines at the end":
            data += b"\n\n"
        return data, f"the same: {how}", True

    def _columns(self, rng, rows, suffix, path, task):
        "A column that lacks, has another name, or stands there twice with other cells."
        names = list(rows[0])
        name = rng.choice([n for n in names if n != "number"])
        how = rng.choice(("missing", "renamed", "twice"))
        if how == "missing" or suffix == "parquet" and how == "twice":
            kept = [{n: v for n, v in row.items() if n != name} for row in rows]
            return written(kept, suffix, path), f"a column missing: {name}", True
        if how == "renamed":
            return (
                written([{f"{n}x" if n == name else n: v for n, v in row.items()} for row in rows], suffix, path),
                f"a column renamed: {name}",
                True,
            )
        other = [rows[i - 1][name] for i in range(len(rows))]
        if suffix == "jsonl":
            text = "".join(
                json.dumps(row)[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}\n"
                for row, value in zip(rows, other, strict=True)
            )
            return text, f"a key twice: {name}", True
        twice = [row | {f"{name}\0": value} for row, value in zip(rows, other, strict=True)]
        lines = written(twice, suffix, path).decode()
        return lines.replace("\0", "", 1), f"a column twice: {name}", True

    def _torn(self, rng, rows, suffix, path, task):
        "A line cut in two, joined with the next, with a cell less or more, or nested without end."
        lines = path.read_text().splitlines()
        chosen = rng.randrange(1 if suffix != "jsonl" else 0, len(lines) - 1)
        line, separator = lines[chosen], "," if suffix == "csv" else "\t"
        how = rng.choice(
            ("cut in two", "joined with the next", "a cell less", "a cell more", "a blank line before", "cut short")
        )
        quoted = suffix == "csv" and '"' in line + lines[chosen + 1]
        place = rng.randrange(1, len(line))
        first = line.partition(separator)[2]
        lines[chosen : chosen + 1] = {
            "cut in two": [line[:place], line[place:]],
            "joined with the next": [line + lines.pop(chosen + 1)],
            "a cell less": [first],
            "a cell more": [line + separator + "x"],
            "a blank line before": ["", line],
            "cut short": [line[:place]],
        }[how]
        guarded = not quoted and not (how == "cut short" and separator in line[:place] and suffix != "jsonl")
        if suffix == "jsonl":
            guarded = how not in ("a cell less", "a blank line before") or how == "a cell less" and "\t" in line
        if path.parent.name == "qqp" and suffix == "tsv" or len(rows[0]) < 2:
            guarded = False  # torn rows are counted there
        if rng.random() < 0.04:
            lines[chosen], guarded, how = (
                ("[" * 100_000 if suffix == "jsonl" else lines[chosen] + "x" * 10**6),
                suffix == "jsonl",
                "an endless line",
            )
        return "\n".join(lines) + "\n", f"a line torn: {how}, line {chosen + 1}", guarded
