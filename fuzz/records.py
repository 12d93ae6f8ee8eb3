"""record.json of a study, damaged, to everything that reads records.

One study is a copy of published records at one seed. The other is made here with small outputs. The checksum of a
record covers all of it. A record whose content differs may be refused, count as not done, or be left out with a reason.
It may not be taken as it is.
"""

import json
import random
import shutil
from pathlib import Path

import damage
import outcomes
from study_files import command

PUBLISHED = Path(__file__).resolve().parent.parent / "figures" / "preregistered"
SEED = "s42"
MADE = ("00_baseline/M_base", "01_csp/M_csp", "02_sdm/M_sdm", "04_challenge/M_challenge", "03_sgh_peft/M_base")


def metrics_like(notebook, group):
    "The metrics of the published record of a group."
    path = PUBLISHED / "runs" / notebook / f"tiny-{SEED}-{group}" / "record.json"
    return json.loads(path.read_text())["metrics"]


class Kind:
    def __init__(self, folder):
        from codesign.runs.places import studies_folder

        self.studies = studies_folder()
        self.kept = folder / "kept"
        self._publish(self.kept / "taken")
        self._make("made")
        shutil.move(self.studies / "made", self.kept / "made")
        self.readers = (
            self._read,
            self._listed,
            self._done,
            self._done,
            self._validate,
            self._analyse,
            self._analyse,
            self._command,
            self._planned,
        )
        self.sound = {}
        with outcomes.listening() as heard:
            for study in ("taken", "made"):
                self._put(study)
                readers = set(self.readers) - ({self._validate} if study == "taken" else set())
                for reader in readers:
                    self.sound[study, reader.__name__] = self._answer(reader, study)
        self.heard = frozenset(heard)

    def trial(self, rng, place):
        reader = rng.choice(self.readers)
        study = (
            "made" if reader == self._validate else rng.choice(("taken", "made", "made"))
        )  # published records have no files
        self._put(study)
        files = sorted((self.studies / study).glob("runs/*/*/record.json"))
        file = rng.choice(files)
        others = [path for path in files if path != file]
        if rng.random() < 0.08:
            other = rng.choice(others)
            content, said = other.read_text(), f"the record of {other.parent.name}"
        else:
            content, said = damage.of_json_text(file.read_text(), rng, ("checksum", "status"))
        damage.write(file, content)
        self.node = f"{file.parent.parent.name}/{file.parent.name}"

        def reads():
            return reader(study)

        reads.__qualname__ = reader.__name__.strip("_")
        said = f"{reader.__name__.strip('_')} of {study}, {self.node}: {said}"
        return outcomes.Trial(said, reads, self.sound[study, reader.__name__], True, self.heard)

    # fixtures

    def _publish(self, target):
        "The published records of one seed."
        for path in PUBLISHED.glob(f"runs/*/*-{SEED}-*/record.json"):
            copy = target / path.relative_to(PUBLISHED)
            copy.parent.mkdir(parents=True)
            shutil.copyfile(path, copy)
        shutil.copyfile(PUBLISHED / "study.json", target / "study.json")

    def _make(self, study):
        "Some runs of a study, made as real ones are, with a small model and published metrics."
        from codesign.pillars.counting import count_parameters
        from codesign.pillars.modelling import LayerwiseMambaConfig, LayerwiseMambaForCausalLM
        from codesign.pillars.saved_models import save_model
        from codesign.runs.making import make
        from codesign.runs.parameters import Parameters

        def job(run):
            model = LayerwiseMambaForCausalLM(
                LayerwiseMambaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, state_size=2)
            )
            save_model(model, run.file("model"))
            total = count_parameters(model)["total_parameters"]
            metrics = metrics_like(run.node.notebook, run.node.group) | dict(params_total=total)
            if "params_trainable" in metrics:
                metrics["params_trainable"] = total
            return metrics

        for key in MADE:
            notebook, group = key.split("/")
            make(notebook, Parameters.checked(notebook, group=group, study=study), job)

    def _put(self, study):
        shutil.rmtree(self.studies / study, ignore_errors=True)
        shutil.copytree(self.kept / study, self.studies / study)

    def _answer(self, reader, study):
        "What a reader says of the undamaged study."
        names = sorted(path.parent for path in (self.studies / study).glob("runs/*/*/record.json"))
        self.node = None
        try:
            return reader(study)[0]
        except outcomes.refusals() as error:
            raise RuntimeError(f"{reader.__name__} of the sound {study} ({len(names)} records): {error}") from error

    # readers: each gives what it took from the records, and a note

    def _content(self, study):
        "All records by name as they lie there, and those that do not fit their checksum."
        from codesign.runs.records import study_records

        found = study_records(study)
        return {name: dict(record) for name, record in found.items()}, [
            name for name, record in found.items() if not record.fits_checksum
        ]

    def _read(self, study):
        from codesign.runs.records import read_record

        found, note = {}, ""
        for path in sorted((self.studies / study).glob("runs/*/*/record.json")):
            record = read_record(path.parent)
            if record is None:
                raise outcomes.Refused(f"{path.parent.name} is not done")
            found[path.parent.name] = dict(record)
            if not record.fits_checksum:
                note = f"the checksum of {path.parent.name} does not fit"
            record.digest, record.without_files, record.damaged()
        return found, note

    def _listed(self, study):
        found, changed = self._content(study)
        if len(found) < len(list((self.studies / study).glob("runs/*/*/record.json"))):
            raise outcomes.Refused("a record is left out")
        return found, ", ".join(changed)

    def _done(self, study):
        "What counts as done; published records are of older code, so there it is only asked that nothing breaks."
        from codesign.runs.graph import Node
        from codesign.runs.identity import why_not_done
        from codesign.runs.parameters import Parameters

        reasons = {}
        for path in sorted((self.studies / study).glob("runs/*/*/record.json")):
            notebook, (size, seed, group) = path.parent.parent.name, path.parent.name.split("-", 2)
            if group == "M_sdm-sgh":
                group = "M_sdm+sgh"
            node = Node(notebook, size, int(seed[1:]), group)
            reasons[str(node)] = why_not_done(study, node, Parameters(size=size, group=group, study=study))
        if study == "taken":
            return None, ""
        if any(reasons.values()):
            raise outcomes.Refused("; ".join(f"{name}: {why}" for name, why in reasons.items() if why))
        return self._content(study)[0], ""

    def _validate(self, study):
        from codesign.study.validation import validate

        rows = validate("made")
        problems = [f"{check} of {name}: {problem}" for name, check, problem in rows if problem]
        if problems:
            raise outcomes.Refused("; ".join(problems))
        return self._content(study)[0], ""

    def _analyse(self, study):
        from codesign.judging.study_records import read_records
        from codesign.judging.tables import main_table
        from codesign.results import analyse_study

        records = read_records(self.studies / study)
        analyses, analysis = analyse_study(records)
        note = "; ".join(
            [*analysis.left_out, *(set(analysis.missing) - self.sound.get(("missing", study), set(analysis.missing)))]
        )
        self.sound.setdefault(("missing", study), set(analysis.missing))
        return [main_table(analysis).to_csv(), analysis.verdicts.to_csv(), [dict(record) for record in records]], note

    def _command(self, study):
        "A command that looks at a study; what it prints is not judged."
        words = random.Random(str(self.node)).choice(
            (["results", "--trace", "ppl_word.M_base"], ["reproduce", "--size", "nano", "--seeds", "42", "--dry-run"])
        )
        if study == "taken":
            words = ["results", "--trace", "ppl_word.M_base"]
        try:
            command([*words, "--study", study])
        except outcomes.Refused as error:
            if self.node is not None:
                raise
            assert "\n" not in str(error)
        return None, ""

    def _planned(self, study):
        from codesign.study.forecast import expected_seconds, known_seconds
        from codesign.study.grid import load_grid
        from codesign.study.plan import pending

        size = "nano" if study == "made" else "tiny"
        grid = load_grid(size, study, seeds="42", groups="M_base")
        known_seconds(grid)
        return None if expected_seconds(grid, list(pending(grid)), 2) is None else None, ""
