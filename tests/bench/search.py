"""Compares counterfactual searches and writes docs/benchmarks/search.md with its chart: `make bench`.

Each cell (data, model, search, seed) runs in a process of its own, in the environment of its library, and is kept in
`.bench/results`: a run that was ended goes on where it was. Delete that folder to measure everything in one run. Only
the standard library is needed here.

`search.py [--seeds N] [--only WORD]`: fewer seeds, or only the cells whose name holds a word, and then no page.
`search.py --seeds 1 --rows 5 --pages FOLDER`: a trial of a few minutes, without the questions on scale.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".bench"
SHARED = ("numpy", "pandas", "scikit-learn", "scipy", "lightgbm==4.7.0")
PACKAGES = {
    "ours": (SHARED, ("pydantic", "threadpoolctl")),
    "dice": (SHARED, ("dice-ml==0.12",)),
    "nice": (SHARED, ("--no-deps", "NICEx==0.2.3")),
    "treecf": (SHARED, ("treecf==0.3.2",)),
}
"""For each environment what pip is asked to install, step by step, within constraints.txt."""

OURS = ("ours-nearest", "ours-fast", "ours-quality")
PEERS = (
    "nice-sparsity",
    "nice-proximity",
    "treecf-genetic",
    "treecf-exact",
    "dice-random",
    "dice-kdtree",
    "dice-genetic",
)
FREE = ("ours-fast0", "ours-quality0")
"""Ours without a price per change: what the proved optimum is compared with."""
DATA = ("census", "german", "caravan")
MODELS = ("lightgbm", "mlp")
SEEDS = 3
BUDGET = 10.0
"""Seconds that a library may take for the rows of a cell; the searches whose ratios are asked for have no limit."""
UNLIMITED = 3600.0
LONGEST = 1500.0
"""Seconds after which a process is ended; what it was to measure is then missing on the page."""
SLOW = ("dice", "treecf-exact")
"""Searches that are asked for the first 100 of the rows only."""
SCALES = ("n", "d", "reference", "k", "profile", "run", "slopes")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def python_of(name: str) -> Path:
    """The interpreter of an environment, which is built where it is not there yet."""
    folder = CACHE / "venvs" / name
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps(PACKAGES[name])
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        sys.stderr.write(f"installing the environment of {name}\n")
        venv.create(folder, with_pip=True, clear=True)
        for step in PACKAGES[name]:
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *step], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def digest(*paths: Path) -> str:
    """A digest of files, and of the Python files of folders."""
    sha = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            sha.update(file.read_bytes())
    return sha.hexdigest()[:16]


def prepare(python: Path) -> None:
    """Makes data, models and rows where they were not made by this code."""
    stamp = CACHE / "prepared.txt"
    made_by = digest(*[HERE / f"search_{name}.py" for name in ("data", "models", "prepare")])
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != made_by:
        subprocess.run(
            [str(python), str(HERE / "search_prepare.py"), str(CACHE)], check=True, env=os.environ | ONE_THREAD
        )
        stamp.write_text(made_by, encoding="utf-8")


def own_code() -> str:
    """A digest of what our searches are made of."""
    core = [
        ROOT / "audit" / "core" / f"{name}.py"
        for name in ("neighbours", "network", "policy", "counterfactuals", "model", "table")
    ]
    return digest(ROOT / "audit" / "search", *[path for path in core if path.exists()], HERE / "search_ours.py")


def keep_code() -> Path:
    """A copy of the package as it is now, so that a long run measures one version."""
    target = CACHE / "code" / own_code()
    if not target.exists():
        part = target.with_suffix(".part")
        shutil.copytree(
            ROOT / "audit", part / "audit", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
        part.rename(target)
    return target


def applies(data: str, model: str, method: str) -> bool:
    """Whether a search can be asked: treecf reads trees, and its exact search does not end on Caravan."""
    if method.startswith("treecf"):
        return model == "lightgbm" and not (method == "treecf-exact" and data == "caravan")
    return method not in FREE or (model == "lightgbm" and data != "caravan")


def cells(seeds: int) -> Iterator[dict[str, Any]]:
    """Every cell, seed by seed; on census with LightGBM our fast search stands before each peer, once more."""
    chosen = json.loads((CACHE / "queries.json").read_text(encoding="utf-8"))
    for seed in range(seeds):
        for data, model in ((d, m) for d in DATA for m in MODELS):
            path = CACHE / "models" / f"{data}.{'txt' if model == 'lightgbm' else 'npz'}"
            query = chosen[f"{data} {model}"]
            given = {
                "task_path": str(CACHE / "tasks" / f"{data}.npz"),
                "model_path": str(path),
                "data": data,
                "model": model,
                "seed": seed,
                "warm": query[:1],
                "rows": query[1:],
                "threads": 1,
            }
            head = (data, model) == ("census", "lightgbm")
            order = [m for m in (*OURS, *FREE, *PEERS) if applies(data, model, m)]
            for method in order[seed:] + order[:seed]:
                if head and method in PEERS:
                    yield given | {"method": "ours-fast", "turn": PEERS.index(method) + 1, "budget_s": UNLIMITED}
                asked = given["rows"][:100] if method.startswith(SLOW) else given["rows"]
                yield given | {"method": method, "rows": asked, "budget_s": UNLIMITED if head else BUDGET}


def name_of(cell: dict[str, Any], code: Path) -> str:
    """The name of a cell, which also tells its result apart from those of other code, data or models."""
    words = [cell["data"], cell["model"], cell["method"], f"s{cell['seed']}", f"r{len(cell['rows'])}"]
    words += [f"t{cell['turn']}"] if "turn" in cell else []
    made_of = digest(Path(cell["task_path"]), Path(cell["model_path"]))
    made_of += code.name if cell["method"].startswith("ours") else ""
    return "-".join([*words, hashlib.sha256(made_of.encode()).hexdigest()[:10]])


def run(python: Path, script: str, cell: dict[str, Any], name: str, code: Path) -> Path:
    """The result of a cell: the one that is kept, or that of a new process."""
    out = CACHE / "results" / f"{name}.json"
    if out.exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    asked, part = out.with_suffix(".cell"), out.with_suffix(".part")
    asked.write_text(json.dumps(cell), encoding="utf-8")
    begun = time.time()
    try:
        done = subprocess.run(
            [str(python), str(HERE / script), str(asked), str(part)],
            env=os.environ | ONE_THREAD | {"PYTHONPATH": str(code)},
            cwd=HERE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"{name}: ended after {LONGEST:.0f} s\n")
        return out
    finally:
        asked.unlink()
    spent = time.time() - begun
    if done.returncode:
        sys.stderr.write(f"{name}: failed\n{done.stderr[-2000:]}\n")
        return out
    result = json.loads(part.read_text(encoding="utf-8")) | {"cell": cell, "at": begun, "process_s": spent}
    out.write_text(json.dumps(result), encoding="utf-8")
    part.unlink()
    sys.stderr.write(f"{name}: {spent:.1f} s, load {os.getloadavg()[0]:.1f}\n")
    return out


def main() -> None:
    """Measures what is not measured yet, and writes the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", default="")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--pages", type=Path, default=ROOT / "docs" / "benchmarks")
    asked = parser.parse_args()
    ours = python_of("ours")
    prepare(ours)
    code = keep_code()
    cut = asked.rows or None
    found = [cell | {"rows": cell["rows"][:cut]} for cell in cells(asked.seeds)]
    jobs = [(name_of(cell, code), "search_run.py", cell) for cell in found]
    for what in () if cut else SCALES:
        script = "search_slopes.py" if what == "slopes" else "search_scale.py"
        name = f"scale-{what}-{digest(HERE / script)}-{code.name}"
        jobs.append((name, script, {"what": what, "cache": str(CACHE), "method": "ours"}))
    (CACHE / "code.txt").write_text(code.name, encoding="utf-8")
    (CACHE / "kept.json").write_text(json.dumps([name for name, _, _ in jobs]), encoding="utf-8")
    for name, script, cell in jobs:
        if asked.only in name:
            # Torch is in the environment of the product itself, and in none of those of the bench.
            slopes = cell.get("what") == "slopes"
            python = Path(sys.executable) if slopes else python_of(cell["method"].split("-")[0])
            run(python, script, cell, name, code)
    if asked.only:
        return
    subprocess.run(
        [str(ours), str(HERE / "search_report.py"), str(CACHE), str(asked.pages)],
        check=True,
        env=os.environ | ONE_THREAD,
    )


if __name__ == "__main__":
    main()
