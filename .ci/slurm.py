"""Makes a study of size nano through SLURM on one machine, and compares its numbers with a local study.

It installs slurm-wlm and munge by apt if they are missing, and starts munged, slurmctld and slurmd in a temporary
folder: no systemd, no cgroups, no accounting. On the way the driver is killed, one job is cancelled and one is put
back into the queue, as preemption does.

python .ci/slurm.py             makes both studies, compares them, and exits 1 if they differ
python .ci/slurm.py -- COMMAND  runs a command with the cluster instead, such as bash
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODESIGN = [sys.executable, "-c", "from codesign.reproduce import main; main()"]
STUDY, LOCAL = "slurm-ci", "slurm-local"
WORK = "--size nano --seeds 42 --groups M_base,M_csp --steps 300".split()  # long enough to be cut off in training
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={port}
SlurmdPort={node_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={mb} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES State=UP MaxTime=INFINITE
"""


def install() -> None:
    "Installs SLURM and munge unless they are here."
    if shutil.which("sbatch") and shutil.which("slurmctld") and shutil.which("munged"):
        return
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    subprocess.run(["apt-get", "update", "-qq"], check=True, **quiet)
    words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "slurm-wlm", "munge"]
    subprocess.run(words, check=True, **quiet)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def cluster():
    "A SLURM of one node, for the time of the block; its commands find it by SLURM_CONF."
    install()
    folder, host = Path(tempfile.mkdtemp(prefix="slurm-")), socket.gethostname().split(".")[0]
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 * 9 // 10
    filled = CONF.format(
        host=host, folder=folder, cpus=len(os.sched_getaffinity(0)), mb=mb, port=free_port(), node_port=free_port()
    )
    (folder / "slurm.conf").write_text(filled)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    munge = [f"--{name}={folder / file}" for name, file in (files | {"log-file": "munge.log"}).items()]
    daemons = [["munged", "--force", "--foreground", *munge], ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-c"]]
    started = []
    try:
        for words in daemons:
            path = os.environ["PATH"] + ":/usr/sbin"
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, "PATH": path}}
            started.append(subprocess.Popen(words, **silent))
            time.sleep(1)
        wait_for(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"), 60, f"no idle node; see {folder}")
        yield folder
    finally:
        subprocess.run(["scancel", "--me"], check=False, capture_output=True)
        wait_for(lambda: not said("squeue", "--noheader"), 60, "jobs did not end", must=False)
        for process in reversed(started):
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def said(*words) -> str:
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout.strip()


def wait_for(true, seconds: float, why: str, must: bool = True) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            if must:
                sys.exit(f"after {seconds:g} s: {why}")
            return
        time.sleep(0.5)


def study_words(name: str, *more: str) -> list[str]:
    return [*CODESIGN, "reproduce", *WORK, "--study", name, *more]


def on_slurm(log, **how):
    "Starts the driver of the study on the cluster."
    words = study_words(STUDY, "--executor", "slurm", "--partition", "main", "--jobs", "4")
    return subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, **how)


def running(run: str) -> str:
    "The job that makes a run now, by the study's own list; empty if it is not running."
    for path in (studies() / STUDY / "slurm").glob("*.json"):
        runs = [job["run"] for job in json.loads(path.read_text())["jobs"]]
        for line in said("squeue", "--array", "--noheader", "--format=%i %j %T").splitlines():
            job, name, state = line.split()
            if name == path.stem and state == "RUNNING" and runs[int(job.split("_")[1])] == run:
                return job
    return ""


def studies() -> Path:
    return Path(os.environ.get("CODESIGN_STUDIES", ROOT / "papermill_runs"))


def trained(run: str) -> bool:
    "Whether a run trains: it says so in a file."
    return (studies() / STUDY / "runs" / run / "progress.json").is_file()


def disturbed(log_path: Path) -> None:
    "The study on the cluster, with a killed driver, a cancelled job and a job put back into the queue."
    first, second = "00_baseline/nano-s42-M_base", "03_sgh_peft/nano-s42-M_base"
    with open(log_path, "w") as log:
        driver = on_slurm(log)
        wait_for(lambda: running(first) and trained(first), 180, f"{first} does not train")
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        before = running(first)
        driver = on_slurm(log)
        time.sleep(3)
        if running(first) != before:
            sys.exit(f"{first} was job {before}, is job {running(first) or 'none'} after the driver was lost")
        subprocess.run(["scancel", before], check=True)
        wait_for(lambda: running(first) not in ("", before), 120, f"{first} was not submitted again")
        wait_for(lambda: running(second) and trained(second), 180, f"{second} does not train")
        subprocess.run(["scontrol", "requeue", running(second)], check=True)
        if driver.wait(timeout=1200):
            sys.exit(f"the study on the cluster failed: {log_path.read_text()[-3000:]}")


def results(study: str) -> dict:
    "The metrics and the checksums of the files of every run that measures no time."
    found = {}
    for path in sorted((studies() / study / "runs").glob("*/*/record.json")):
        record = json.loads(path.read_text())
        if record["run"].split("/")[0] not in ("05_profiling", "06_results"):
            found[record["run"]] = json.dumps([record["metrics"], record["files"]], sort_keys=True)
    return found


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--"]:
        with cluster():
            sys.exit(subprocess.run(arguments[1:], check=False).returncode)
    for name in (LOCAL, STUDY):
        shutil.rmtree(studies() / name, ignore_errors=True)
    subprocess.run(study_words(LOCAL), cwd=ROOT, check=True)
    log_path = studies() / f"{STUDY}.log"
    with cluster():
        start = time.monotonic()
        disturbed(log_path)
        seconds = time.monotonic() - start
    print(log_path.read_text())
    here, there = results(LOCAL), results(STUDY)
    wrong = sorted(run for run in there if there[run] != here.get(run))
    if wrong or len(there) != 4:
        sys.exit(f"{len(there)} of 4 runs are there; these differ from {LOCAL}: {', '.join(wrong) or 'none'}")
    print(f"SLURM: {len(there)} runs are those of {LOCAL}, metrics value by value, files byte by byte; {seconds:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
