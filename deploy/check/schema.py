"""`deploy/compose.yaml` and the workflows against their published schemas; and what the schemas do not say."""

import pathlib
import re
import subprocess
import sys
import tomllib

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CHECK = pathlib.Path(sys.executable).parent / "check-jsonschema"

faults = []


def by_schema(name, *paths):
    ran = subprocess.run([CHECK, "--builtin-schema", name, *paths], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        faults.append(ran.stdout + ran.stderr)


def compose():
    path = REPOSITORY / "deploy" / "compose.yaml"
    by_schema("vendor.compose-spec", path)
    document = yaml.safe_load(path.read_text())
    services = document["services"]
    for name, service in services.items():
        needed = service.get("depends_on", [])
        for other in needed:
            if other not in services:
                faults.append(f"compose: {name} needs {other}, which is no service")
            elif isinstance(needed, dict) and needed[other]["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                faults.append(f"compose: {name} waits for the health of {other}, which nobody looks at")
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-(.*)\}", r"\1", volume.rsplit(":", 1)[0] if not volume.endswith(":ro") else volume[:-3].rsplit(":", 1)[0])
            if source.startswith("."):
                if not (path.parent / source).exists():
                    faults.append(f"compose: {name} mounts {source}, which is not there")
            elif source not in document["volumes"]:
                faults.append(f"compose: {name} mounts {source}, which is no volume")
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                faults.append(f"compose: {name} is open to others at {port}")
    grace = tomllib.loads((REPOSITORY / "config" / "holdfast.toml").read_text())["worker"]["drain_grace"]
    given = services["worker"]["stop_grace_period"]
    if int(given[:-1]) < int(grace[:-1]) + 45:
        faults.append(f"compose: the worker is killed after {given}, before it has drained")


def dockerfile():
    """What `hadolint` does not look at: what the build needs is let in, and settings are not overruled."""
    text = (REPOSITORY / "deploy" / "Dockerfile").read_text()
    version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
    for is_so, otherwise in [
        (f"ARG VERSION={version}\n" in text, f"is not of version {version}"),
        ("HEALTHCHECK" in text and 'CMD ["holdfast", "health"]' in text, "has no health check"),
        (re.search(r"^USER 65532:65532$", text, re.M), "runs as somebody else"),
        ("HOLDFAST_LEDGER__" not in text, "names a ledger, which would win over every settings file"),
    ]:
        if not is_so:
            faults.append(f"deploy/Dockerfile {otherwise}")
    let_in = {line[1:] for line in (REPOSITORY / "deploy" / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in (REPOSITORY / "src").rglob("*.rs"):
        # Tests are not built into the image.
        body = source.read_text().split("#[cfg(test)]\nmod tests {")[0]
        if "tests" in source.parts or source.name in {"tests.rs", "testing.rs", "readme.rs", "wild.rs"}:
            continue
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', body):
            top = (source.parent / name).resolve().relative_to(REPOSITORY).parts[0]
            if top not in let_in:
                faults.append(f"{source.relative_to(REPOSITORY)} includes {name}, which Dockerfile.dockerignore leaves out")


compose()
dockerfile()
by_schema("vendor.github-workflows", *sorted((REPOSITORY / ".github" / "workflows").glob("*.yml")))
for line in faults:
    print(line, file=sys.stderr)
print(f"container, compose, workflows: {len(faults)} faults")
sys.exit(1 if faults else 0)
