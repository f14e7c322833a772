"""Reads rendered manifests on stdin and reports mistakes: fields that Kubernetes does not know, and settings that the
restricted Pod Security Standard forbids. Takes the expected kinds, and allows no others."""

import sys

import jsonschema
import kubernetes_validate
import yaml

# The first version with sidecar containers, and the newest version with available schemas.
VERSIONS = ["1.29.0", "1.37.0"]

# Kubernetes' own schemas contain no PodMonitor. These are the fields that Perennial uses.
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
POD_MONITOR = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PodMonitor"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": LABELS},
        },
        "spec": {
            "type": "object",
            "required": ["selector", "podMetricsEndpoints"],
            "additionalProperties": False,
            "properties": {
                "selector": {"type": "object", "additionalProperties": False, "properties": {"matchLabels": LABELS}},
                "podMetricsEndpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["port"],
                        "additionalProperties": False,
                        "properties": {key: {"type": "string"} for key in ["port", "path", "interval"]},
                    },
                },
            },
        },
    },
}


def unknown_to_kubernetes(manifest):
    if manifest["kind"] == "PodMonitor":
        for error in jsonschema.Draft7Validator(POD_MONITOR).iter_errors(manifest):
            yield f"{error.json_path}: {error.message}"
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message}"


def template_of(manifest):
    if manifest["kind"] == "Deployment":
        return manifest["spec"]["template"]
    if manifest["kind"] == "CronJob":
        return manifest["spec"]["jobTemplate"]["spec"]["template"]
    return None


def at_odds(template, manifests):
    """Requirements on a pod that follow from the other resources."""
    labels = template["metadata"]["labels"]
    containers = template["spec"].get("initContainers", []) + template["spec"]["containers"]
    ports = [port["name"] for container in containers for port in container.get("ports", [])]
    for container in containers:
        if ":" not in container["image"]:
            yield f"{container['name']}: the image has no tag"
    for other in manifests:
        annotations = other["metadata"].get("annotations", {})
        if "azure.workload.identity/client-id" in annotations and labels.get("azure.workload.identity/use") != "true":
            yield "the webhook would pass by: no azure.workload.identity/use"
        if other["kind"] == "PodMonitor" and not other["spec"]["selector"]["matchLabels"].items() <= labels.items():
            yield "the monitor selects something else"
        # A job ends before Prometheus could scrape it.
        if other["kind"] == "PodMonitor" and template["spec"].get("restartPolicy") != "Never":
            for endpoint in other["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in ports:
                    yield f"the monitor asks for a port {endpoint['port']}"


def refused_by_restricted(pod):
    """The restricted standard, and more: a read-only root file system and no token for the API server."""
    whole = pod.get("securityContext", {})
    wanted = [
        ("runAsNonRoot", whole.get("runAsNonRoot") is True),
        ("runAsUser", whole.get("runAsUser", 0) != 0),
        ("seccompProfile", whole.get("seccompProfile", {}).get("type") in ["RuntimeDefault", "Localhost"]),
        ("automountServiceAccountToken", pod.get("automountServiceAccountToken") is False),
        ("host namespaces", not any(pod.get(key) for key in ["hostNetwork", "hostPID", "hostIPC"])),
    ]
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        wanted.append((f"volume {volume['name']}", kinds <= {"configMap", "emptyDir", "secret", "projected"}))
    for container in pod.get("initContainers", []) + pod["containers"]:
        own = container.get("securityContext", {})
        wanted += [
            (f"{container['name']}: {what}", holds)
            for what, holds in [
                ("allowPrivilegeEscalation", own.get("allowPrivilegeEscalation") is False),
                ("capabilities", own.get("capabilities") == {"drop": ["ALL"]}),
                ("readOnlyRootFilesystem", own.get("readOnlyRootFilesystem") is True),
                ("privileged", not own.get("privileged")),
                ("runAsNonRoot", own.get("runAsNonRoot", True) and own.get("runAsUser", 1) != 0),
                ("seccompProfile", own.get("seccompProfile", whole.get("seccompProfile")) == whole.get("seccompProfile")),
                ("hostPort", not any("hostPort" in port for port in container.get("ports", []))),
            ]
        ]
    return [what for what, holds in wanted if not holds]


def main(kinds):
    manifests = [manifest for manifest in yaml.safe_load_all(sys.stdin) if manifest]
    wrong = []
    found = sorted(manifest["kind"] for manifest in manifests)
    if found != sorted(kinds):
        wrong.append(f"there are {found}")
    for manifest in manifests:
        named = f"{manifest['kind']} {manifest['metadata']['name']}"
        wrong += [f"{named}: {what}" for what in unknown_to_kubernetes(manifest)]
        if template := template_of(manifest):
            wrong += [f"{named}: not restricted: {what}" for what in refused_by_restricted(template["spec"])]
            wrong += [f"{named}: {what}" for what in at_odds(template, manifests)]
    print("\n".join(wrong) or f"{len(manifests)} manifests as Kubernetes wants them: {' '.join(found)}")
    sys.exit(bool(wrong))


main(sys.argv[1:])
