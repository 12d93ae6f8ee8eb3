"""safetensors files and caches, damaged, to `load_model`, `load_checkpoint`, `load_corpus` and what it leads to.

A model's folder has no checksum: names, order and values of its weights are free as long as all fit. Everything else
here is guarded: a checkpoint by its manifest, the caches by the hash of the content that they are made from.
"""

import json
import shutil

import damage
import outcomes
from checkpoints import logits_of, small_models

WORDS = "the model reads a text and learns what follows from what came before it in every line of a document".split()


def write_text(folder, lines=60):
    "Three files of text that is the same on every machine."
    folder.mkdir(parents=True)
    for number, split in enumerate(("train", "validation", "test")):
        rows = [
            " ".join(WORDS[(i * 7 + j * (number + 3)) % len(WORDS)] for j in range(5 + i % 9)) for i in range(lines)
        ]
        (folder / f"{split}.txt").write_text("\n\n".join(rows) + "\n")
    return folder


def of_header(data, rng):
    "A safetensors file whose header says something else."
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if rng.random() < 0.2:
        length = rng.choice((0, 1, size - 1, size + 1, size * 2, 2**32, 2**63, 2**64 - 1))
        return length.to_bytes(8, "little") + data[8:], f"length of the header {length} instead of {size}"
    name = rng.choice([key for key in header if key != "__metadata__"])
    other = rng.choice([key for key in header if key not in (name, "__metadata__")])
    how = rng.choice(("type", "shape", "offsets", "swapped", "structure", "structure"))
    said = f"{how} of {name}"
    if how == "type":
        header[name]["dtype"] = rng.choice(("F16", "BF16", "F64", "I8", "I32", "BOOL", "F8_E4M3", "X", ""))
    elif how == "shape":
        header[name]["shape"] = rng.choice(
            ([], [0], header[name]["shape"][::-1], [2**40], [-1], [1, *header[name]["shape"]])
        )
    elif how == "offsets":
        header[name]["data_offsets"] = [max(0, n + rng.choice((-4, 4, 4096))) for n in header[name]["data_offsets"]]
    elif how == "swapped":
        header[name], header[other] = header[other], header[name]
    else:
        header, said = damage.of_json(header, rng, ("__metadata__", "lm_head.weight"))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :], f"header: {said}"


class Kind:
    def __init__(self, folder):
        import numpy as np
        import torch

        from codesign.engine.training_checkpoints import save_checkpoint

        self.models, self.text, self.cache = small_models(folder), write_text(folder / "text"), folder / "cache"
        self.checkpoint = save_checkpoint(
            folder / "step-000002",
            dict(
                model={"w": torch.arange(12.0).view(3, 4), "b": torch.ones(3)},
                rng={"torch": torch.zeros(9, dtype=torch.uint8)},
            ),
            dict(step=2, fingerprint="f"),
        )
        self.np = np
        with outcomes.listening() as heard:
            self.sound = {name: logits_of(path) for name, path in self.models.items()} | {
                "checkpoint": tensors_of(self.checkpoint),
                "cache": self.from_cache(),
            }
        self.heard = frozenset(heard)
        self.cached = sorted(
            path.relative_to(self.cache)
            for path in self.cache.rglob("*")
            if path.suffix in (".npy", ".json", ".txt") and path.stat().st_size
        )
        self.kept = folder / "kept"
        shutil.copytree(self.cache, self.kept)

    def from_cache(self):
        "Corpus, tokenizer and token streams of the text, from the cache where it has them."
        from codesign.engine.corpora import load_corpus
        from codesign.engine.token_streams import token_stream
        from codesign.engine.tokenization import load_tokenizer

        corpus = load_corpus(f"text:{self.text}", online=False)
        whole = {
            split: [list(corpus.documents[split]), str(corpus.counts(split)), corpus.hashes[split]]
            for split in corpus.documents
        }
        tokenizer = load_tokenizer("bpe", 300, corpus)
        streams = {split: token_stream(corpus, split, tokenizer).tolist() for split in ("train", "validation")}
        return json.dumps([whole, tokenizer.backend_tokenizer.to_str(), streams])

    def trial(self, rng, place):
        return rng.choice((self._of_model, self._of_checkpoint, self._of_cache, self._of_cache))(rng, place)

    def _of_model(self, rng, place):
        name = rng.choice(list(self.models))
        folder = place / "model"
        shutil.copytree(self.models[name], folder)
        file = folder / "model.safetensors"
        content, said = rng.choice((of_header, of_header, damage.of_bytes))(file.read_bytes(), rng)
        damage.write(file, content)
        return outcomes.Trial(f"{name}: {said}", lambda: (logits_of(folder), ""), self.sound[name], False, self.heard)

    def _of_checkpoint(self, rng, place):
        from codesign.engine.training_checkpoints import load_checkpoint  # noqa: F401  (imported before anything is judged)

        folder = place / "step-000002"
        shutil.copytree(self.checkpoint, folder)
        file = rng.choice(sorted(folder.glob("*.safetensors")))
        content, said = (
            rng.choice((of_header, damage.of_bytes))(file.read_bytes(), rng)
            if file.name == "model.safetensors"
            else damage.of_bytes(file.read_bytes(), rng)
        )
        damage.write(file, content)
        return outcomes.Trial(
            f"checkpoint, {file.name}: {said}",
            lambda: (tensors_of(folder), ""),
            self.sound["checkpoint"],
            True,
            self.heard,
        )

    def _of_cache(self, rng, place):
        shutil.rmtree(self.cache)
        shutil.copytree(self.kept, self.cache)
        file = self.cache / rng.choice(self.cached)
        data = file.read_bytes()
        content, said = (
            damage.of_json_text(data.decode(), rng)
            if file.suffix == ".json" and rng.random() < 0.7
            else damage.of_bytes(data, rng)
        )
        damage.write(file, content)
        what = file.relative_to(self.cache).parts

        def caches():
            return self.from_cache(), ""

        caches.__qualname__ = f"{what[0]}, {file.suffix}"
        return outcomes.Trial(f"cache, {what[0]}/../{file.name}: {said}", caches, self.sound["cache"], True, self.heard)


def tensors_of(folder):
    "Everything in a checkpoint, as text."
    from codesign.engine.training_checkpoints import load_checkpoint

    tensors, state = load_checkpoint(folder)
    return json.dumps(
        [{stem: {name: tensor.tolist() for name, tensor in named.items()} for stem, named in tensors.items()}, state]
    )
