"""The peers: how each is built, and how one of its runs is made. A peer whose library is not installed is left out, with a word."""

import json
import os
import pathlib
import subprocess
import sys
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]
# Longest run; ports.c gives up after two minutes by itself.
PATIENCE = 300


@dataclass(frozen=True)
class Recipe:
    source: str
    flags: tuple[str, ...] = ()
    # Package of Debian; None: without it nothing can be measured.
    package: str | None = None


CDPS = ("-I", str(HERE.parent / "include"), "-lcdps", "-lpthread")
RECIPES = {
    "plain": Recipe("plain.c"),
    "plain-crc": Recipe("plain.c", ("-DWITH_CRC", "-lisal"), "libisal-dev"),
    "cdps": Recipe("cdps.c", CDPS),
    "ports": Recipe("ports.c", CDPS),
    "zmq": Recipe("zmq.c", ("-lzmq",), "libzmq3-dev"),
    "nng": Recipe("nng.c", ("-lnng",), "libnng-dev"),
    "ucx": Recipe("ucx.c", ("-lucp", "-lucs"), "libucx-dev"),
    "knet": Recipe("knet.c", ("-lknet",), "libknet-dev"),
}


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr)


def compile_c(program: str, out: pathlib.Path, lib: pathlib.Path) -> pathlib.Path | None:
    recipe = RECIPES[program]
    command = ["gcc", *FLAGS, HERE / recipe.source, "-o", out / program, f"-L{lib}", f"-Wl,-rpath,{lib}", *recipe.flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return out / program
    missing = "No such file or directory" in done.stderr or "cannot find -l" in done.stderr
    if recipe.package is None or not missing:
        sys.exit(f"bench: {recipe.source} does not build:\n{done.stderr}")
    say(f"without {program}: {recipe.package} is not installed")
    return None


def compile_cargo(manifest: str, package: str, program: str, target: pathlib.Path) -> pathlib.Path | None:
    command = [os.environ.get("CARGO", "cargo"), "build", "--release", "--quiet", "--manifest-path", HERE / manifest, "-p", package]
    done = subprocess.run(command, env=os.environ | {"CARGO_TARGET_DIR": str(target)})
    if done.returncode == 0:
        return target / "release" / program
    say(f"without {program}: cargo could not build it")
    return None


def build(programs: set[str], out: pathlib.Path, lib: pathlib.Path) -> dict[str, pathlib.Path]:
    """The programs that could be built, of those wanted."""
    out.mkdir(parents=True, exist_ok=True)
    built = {name: compile_c(name, out, lib) for name in sorted(programs & set(RECIPES))}
    if "quinn" in programs:
        built["quinn"] = compile_cargo("quinn/Cargo.toml", "cdps-bench-quinn", "quinn-peer", out / "quinn")
    return {name: path for name, path in built.items() if path}


def relay(target: pathlib.Path) -> pathlib.Path | None:
    return compile_cargo("../Cargo.toml", "cdps-tests", "cdps-relay", target)


def once(program: pathlib.Path, arguments: list[str]) -> dict | None:
    """One run: what it printed, or nothing if it failed, which is said."""
    command = [str(program), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        say(f"{' '.join(command)}: no end after {PATIENCE} s")
        return None
    if done.returncode != 0:
        say(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
        return None
    return json.loads(done.stdout)
