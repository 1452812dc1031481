"""The manifests below deploy/kubernetes, as kubectl builds them: against Kubernetes' own schemas, against
what a restricted namespace lets in, and against each other.

    kubernetes.py KUBECTL     (or `-`: look at the files only, where there is no kubectl)
"""

import pathlib
import re
import subprocess
import sys
import tomllib

import kubernetes_validate
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
VERSION = "1.36"
# What the closing of connections takes after a drain.
CLOSING = 45
CUSTOM = {"keda.sh/v1alpha1"}

faults = []


def fault(where, what):
    faults.append(f"{where}: {what}")


def defaults():
    return tomllib.loads((REPOSITORY / "config" / "holdfast.toml").read_text())


def seconds(span):
    return int(re.fullmatch(r"(\d+)s", span)[1])


def built(kubectl, overlay):
    ran = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        fault(overlay.name, ran.stderr.strip())
        return []
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def check_schema(where, document):
    if document["apiVersion"] in CUSTOM:
        return
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        fault(where, f"{document['kind']} {document['metadata']['name']}: {error.message}")


def check_pod(where, pod):
    """What the Pod Security Standard `restricted` asks for, and what a worker needs."""
    settings = defaults()
    context = pod["securityContext"]
    expect = [
        (context.get("runAsNonRoot") is True, "runs as root"),
        (context.get("seccompProfile", {}).get("type") == "RuntimeDefault", "no seccomp profile"),
        (pod.get("automountServiceAccountToken") is False, "is given a token of the cluster"),
        (
            pod["terminationGracePeriodSeconds"] > seconds(settings["worker"]["drain_grace"]) + CLOSING,
            "is killed before it has drained",
        ),
    ]
    (container,) = pod["containers"]
    own = container["securityContext"]
    port = int(settings["http"]["listen"].rsplit(":", 1)[1])
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    expect += [
        (own.get("allowPrivilegeEscalation") is False, "may escalate privileges"),
        (own.get("readOnlyRootFilesystem") is True, "may write to its image"),
        (own["capabilities"] == {"drop": ["ALL"]}, "keeps capabilities"),
        (named == {"http": port}, f"health is not at {port}"),
        (container["livenessProbe"]["httpGet"]["path"] == "/livez", "is not asked whether it lives"),
        (container["startupProbe"]["httpGet"]["path"] == "/livez", "is not asked whether it has started"),
        (container["readinessProbe"]["httpGet"]["path"] == "/readyz", "is not asked whether it is ready"),
        ("limits" in container["resources"] and "requests" in container["resources"], "has no bounds"),
        (not any("SECRET" in variable["name"] for variable in container.get("env", [])), "has a secret in a variable"),
    ]
    for is_so, otherwise in expect:
        if not is_so:
            fault(where, f"the pod {otherwise}")


def check_references(where, documents):
    """Whatever a document names is there, and what selects pods selects ours."""
    names = {(document["kind"], document["metadata"]["name"]) for document in documents}
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    pod = deployment["spec"]["template"]["spec"]
    wanted = {("ServiceAccount", pod["serviceAccountName"])}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            wanted.add(("ConfigMap", volume["configMap"]["name"]))
        if "persistentVolumeClaim" in volume:
            wanted.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    (container,) = pod["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    if mounted != {volume["name"] for volume in pod["volumes"]}:
        fault(where, f"mounted are {sorted(mounted)}, and there are others")
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector", {}))
        selector = selector.get("matchLabels", selector)
        if document["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy"} and not selector.items() <= labels:
            fault(where, f"{document['kind']} selects {selector}, which our pods are not")
        if document["kind"] == "ScaledObject":
            wanted.add(("Deployment", spec["scaleTargetRef"]["name"]))
            wanted |= {("TriggerAuthentication", trigger["authenticationRef"]["name"]) for trigger in spec["triggers"]}
            queues = {trigger["metadata"]["queueName"] for trigger in spec["triggers"]}
            if queues != {defaults()["broker"]["work_queue"]}:
                fault(where, f"KEDA looks at {queues}")
            if "replicas" in deployment["spec"]:
                fault(where, "replicas are set beside KEDA")
        if document["metadata"].get("namespace", "holdfast") != "holdfast":
            fault(where, f"{document['metadata']['name']} is in another namespace")
    for kind, name in wanted - names:
        fault(where, f"there is no {kind} {name}")
    version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
    if not container["image"].endswith(f"/holdfast:{version}"):
        fault(where, f"the image {container['image']} is not version {version}")
    return deployment


def check_overlay(where, documents):
    for document in documents:
        check_schema(where, document)
    deployment = check_references(where, documents)
    check_pod(where, deployment["spec"]["template"]["spec"])
    spec = deployment["spec"]
    kinds = {document["kind"] for document in documents}
    if where == "sqlite":
        if (spec["replicas"], spec["strategy"]["type"]) != (1, "Recreate"):
            fault(where, "two workers could have the file open")
        claim = next(document for document in documents if document["kind"] == "PersistentVolumeClaim")
        if claim["spec"]["accessModes"] != ["ReadWriteOncePod"]:
            fault(where, "two pods could have the volume")
    elif not {"PodDisruptionBudget", "ScaledObject"} <= kinds:
        fault(where, f"there are only {sorted(kinds)}")
    namespace = next(document for document in documents if document["kind"] == "Namespace")
    if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        fault(where, "the namespace lets in more than restricted pods")


def check_files():
    """Every file is used by a kustomization, and every file that one names is there."""
    used = set()
    for path in KUBERNETES.rglob("kustomization.yaml"):
        kustomization = yaml.safe_load(path.read_text())
        named = list(kustomization["resources"]) + [patch["path"] for patch in kustomization.get("patches", [])]
        named += [file for generator in kustomization.get("configMapGenerator", []) for file in generator["files"]]
        for name in named:
            target = (path.parent / name).resolve()
            used |= {path, target}
            if not target.exists():
                fault(path.relative_to(REPOSITORY), f"names {name}, which is not there")
    for path in KUBERNETES.rglob("*"):
        if path.is_file() and path not in used:
            fault(path.relative_to(REPOSITORY), "no kustomization names it")


def main(kubectl):
    check_files()
    overlays = sorted(path for path in (KUBERNETES / "overlays").iterdir() if path.is_dir())
    count = 0
    if kubectl == "-":
        for path in KUBERNETES.rglob("*.yaml"):
            if path.name != "kustomization.yaml":
                list(yaml.safe_load_all(path.read_text()))
    else:
        for overlay in overlays:
            documents = built(kubectl, overlay)
            count += len(documents)
            if documents:
                check_overlay(overlay.name, documents)
    for line in faults:
        print(f"deploy/kubernetes: {line}", file=sys.stderr)
    print(f"kubernetes: {count} objects of {len(overlays)} overlays, {len(faults)} faults")
    return 1 if faults else 0


sys.exit(main(sys.argv[1]))
