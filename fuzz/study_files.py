"""study.json, plan.json, started.json, metrics.jsonl and the JSON files of checkpoints, damaged, to what reads them.

Guarded: a checkpoint gives back what was written or is refused; a training ends with the same weights; what an attempt
at something else left never changes what a run makes; no step stands in a log twice; and a study.json that is no longer
a mapping is refused, or made good from the records with a word, but never taken for none. Another valid study.json,
plan.json or metrics.jsonl is another input, for they have no checksum.
"""

import json
import shutil

import damage
import outcomes
from headers import tensors_of
from stand_ins import stand_in

STUDY, RUN = "fuzzed", "00_baseline/nano-s42-M_base"


STARTED = []  # what the last command would have made


def refuse_to_run(*what, **__):
    STARTED.append(repr(what))
    raise outcomes.Refused("a run would start here")


def command(words):
    "What the command line says: its exit code; exit code 2 is a refusal by the line on stderr."
    import contextlib
    import io

    from codesign.reproduce import main

    said, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            main(words)
    except SystemExit as end:
        code = end.code
    if code == 2:
        raise outcomes.Refused(errors.getvalue().strip())
    if code == 1:
        raise outcomes.Refused(said.getvalue().strip().splitlines()[-1])
    return code, said.getvalue()


class Kind:
    def __init__(self, folder):
        import codesign.reproduce  # noqa: F401  (loads what is replaced below)
        from codesign.runs.places import studies_folder
        from codesign.runs.study_file import STUDY_PARAMETERS, remember_study
        from codesign.study.grid import load_grid
        from codesign.study.plan import write_plan

        for name in ("execute", "run_plan"):
            stand_in(name, refuse_to_run)
        self.study = studies_folder() / STUDY
        grid = load_grid("nano", STUDY, seeds="42")
        self.study.mkdir(parents=True)
        fixed = {name: getattr(grid, name) for name in STUDY_PARAMETERS}
        remember_study(STUDY, fixed, seeds=list(grid.seeds), groups=list(grid.groups))
        write_plan(grid, grid.nodes()[:3], 2, 0)
        self.texts = {name: (self.study / name).read_text() for name in ("study.json", "plan.json")}
        self._of_seven_steps()
        self.run = self._run()
        self.checkpoints = self._train(folder / "trained")[1]
        with outcomes.listening() as heard:
            self.trained = self._train(folder / "trained")[0]
            self.tensors = tensors_of(sorted(self.checkpoints.glob("step-*"))[-1])
        self.heard = frozenset(heard)

    def trial(self, rng, place):
        return rng.choice(
            (
                self._of_study,
                self._of_seven,
                self._of_plan,
                self._of_started,
                self._of_log,
                self._of_checkpoint,
                self._of_checkpoint,
            )
        )(rng, place)

    # what the study fixes, and its plan

    def _of_study(self, rng, place):
        content, said = damage.of_json_text(self.texts["study.json"], rng)
        damage.write(self.study / "study.json", content)
        words = rng.choice(
            (
                ["reproduce", "--size", "nano", "--seeds", "42", "--dry-run"],
                ["reproduce", "--size", "nano", "--seeds", "42"],
                ["validate"],
                ["pretrain", "--size", "nano"],
                ["finetune"],
                ["results"],
                ["profile", "--group", "M_base"],
                ["reproduce", "--published"],
            )
        )
        return outcomes.Trial(
            f"study.json for {words[0]}: {said}",
            lambda: (command([*words, "--study", STUDY]), ""),
            None,
            False,
            self.heard,
        )

    def _of_seven_steps(self):
        "A study with a finished run that is not of the usual number of steps, so that its defaults matter."
        from codesign.runs.making import make
        from codesign.runs.parameters import Parameters

        def job(run):
            run.file("out.txt").write_text("made")
            return {"value": 1}

        asked = Parameters.checked("00_baseline", study="seven", steps=7, size="nano")
        self.seven = make("00_baseline", asked, job).folder.parents[2]
        self.texts["seven"] = (self.seven / "study.json").read_text()

    def _of_seven(self, rng, place):
        content, said = damage.of_json_text(self.texts["seven"], rng)
        damage.write(self.seven / "study.json", content)
        try:
            sound = isinstance(json.loads(content), dict)
        except (ValueError, RecursionError):
            sound = False

        def pretrain():
            STARTED.clear()
            try:
                said = command(["pretrain", "--study", "seven"])[1]
            except outcomes.Refused as error:
                if not STARTED:
                    raise
                said = str(error)
            return list(STARTED), said if "study.json cannot be read" in said else ""

        return outcomes.Trial(f"study.json of seven steps: {said}", pretrain, [], not sound, self.heard)

    def _of_plan(self, rng, place):
        content, said = damage.of_json_text(self.texts["plan.json"], rng)
        path = place / "plan.json"
        damage.write(path, content)
        return outcomes.Trial(
            f"plan.json: {said}", lambda: (command(["node", str(path), RUN]), ""), None, False, self.heard
        )

    # what an earlier attempt has left

    def _make(self, study):
        from codesign.runs.making import make
        from codesign.runs.parameters import Parameters

        def job(run):
            left = run.folder / "left.txt"  # as a checkpoint would lie there
            run.file("out.txt").write_text(left.read_text() if left.exists() else "made")
            return {"value": 1}

        return make("00_baseline", Parameters.checked("00_baseline", study=study), job)

    def _of_started(self, rng, place):
        shutil.rmtree(self.study.with_name("begun"), ignore_errors=True)
        sound = self._make("begun")
        (sound.folder / "record.json").unlink()
        file = sound.folder / "started.json"
        marked = json.loads(file.read_text())
        content, said = damage.of_json_text(file.read_text(), rng)
        damage.write(file, content)
        try:
            same = json.loads(content)["hash"] == marked["hash"]
        except (ValueError, TypeError, LookupError, RecursionError):
            same = False
        if not same:  # what lies there belongs to something else
            (sound.folder / "left.txt").write_text("of another attempt")
        return outcomes.Trial(
            f"started.json: {said}", lambda: (self._make("begun").digest, ""), sound.digest, True, self.heard
        )

    def _run(self):
        from codesign.runs.graph import Node, run_folder
        from codesign.runs.parameters import Parameters
        from codesign.runs.run import Run
        from codesign.runs.settings import load_settings

        node = Node("00_baseline", "nano", 42, "M_base")
        run = Run(node, Parameters(study=STUDY), load_settings("nano"), run_folder(STUDY, node), {})
        run.folder.mkdir(parents=True)
        for step in range(12):
            run.log(step=step, loss=4.0 - step / 10, lr=0.001)
        self.texts["metrics.jsonl"] = (run.folder / "metrics.jsonl").read_text()
        return run

    def _of_log(self, rng, place):
        lines = self.texts["metrics.jsonl"].splitlines()
        chosen = rng.randrange(len(lines))
        if rng.random() < 0.5:
            lines[chosen], said = damage.of_json(json.loads(lines[chosen]), rng)
            content, said = (
                "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines),
                f"line {chosen + 1}: {said}",
            )
        else:
            content, said = damage.of_bytes(self.texts["metrics.jsonl"].encode(), rng)
        damage.write(self.run.folder / "metrics.jsonl", content)

        def goes_on():
            from codesign.pillars.training_runs import learning_curve, log_rewinder

            log_rewinder(self.run)(8)
            for step in range(8, 12):
                self.run.log(step=step, loss=4.0 - step / 10, lr=0.001)
            curve = learning_curve(self.run)
            assert len(set(curve["step"])) == len(curve["step"]), f"steps are logged twice: {curve['step']}"
            return curve, ""

        return outcomes.Trial(f"metrics.jsonl: {said}", goes_on, None, False, self.heard)

    # checkpoints of a training

    def _train(self, folder):
        "The last weights of a short training that keeps its checkpoints in `folder`, and that folder."
        import torch

        from codesign.engine.optimization import Objective, TrainingPlan
        from codesign.engine.training import train

        class Square(Objective):
            def loss(self, model, batch):
                return model(batch).square().mean()

        torch.manual_seed(0)
        model = torch.nn.Linear(4, 3)
        train(
            model,
            lambda step: torch.full((2, 4), step / 8.0),
            TrainingPlan(steps=6, lr=0.1, micro_batch_size=2, checkpoint_every=2),
            Square(),
            folder=folder,
            fingerprint="f",
        )
        return json.dumps({name: value.tolist() for name, value in model.state_dict().items()}), folder

    def _of_checkpoint(self, rng, place):
        folder = place / "trained"
        shutil.copytree(self.checkpoints, folder)
        step = sorted(folder.glob("step-*"))[-1]
        file = step / rng.choice(
            (
                "manifest.json",
                "manifest.json",
                "state.json",
                "model.safetensors",
                "optimizer.safetensors",
                "rng.safetensors",
            )
        )
        if rng.random() < 0.05:
            file.unlink()
            said = "missing"
        else:
            data = file.read_bytes()
            content, said = (
                damage.of_json_text(data.decode(), rng) if file.suffix == ".json" else damage.of_bytes(data, rng)
            )
            damage.write(file, content)
        said = f"{step.name}/{file.name}: {said}"
        if rng.random() < 0.5:
            return outcomes.Trial(
                f"load_checkpoint, {said}", lambda: (tensors_of(step), ""), self.tensors, True, self.heard
            )
        return outcomes.Trial(f"train, {said}", lambda: (self._train(folder)[0], ""), self.trained, True, self.heard)
