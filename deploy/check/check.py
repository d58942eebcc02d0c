"""Compares manifests with the published schemas; a key that a schema does not have is refused.

Kubernetes' own kinds: the JSON schemas of each version in VERSIONS, as kubernetes-validate ships
them. KEDA's: the Job inside by the same schemas, all around it by KEDA's definitions, in keda.js.

    python check.py NODE_SCRIPT MANIFEST...
"""

import json
import subprocess
import sys

import kubernetes_validate
import yaml

# The first that has all that the manifests use (`preStop.sleep`), and the newest that there is.
VERSIONS = ["1.30", "1.37"]


def by_kubernetes(resource):
    """What is wrong with a resource of Kubernetes' own, under each version."""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            yield f"Kubernetes {version}: {path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"Kubernetes {version}: {error}"


def by_keda(script, resource):
    """What is wrong with one of KEDA's resources."""
    job = resource.get("spec", {}).get("jobTargetRef")
    if job is not None:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": job}
        yield from by_kubernetes(job)
    node = subprocess.run(
        ["node", script], input=json.dumps(resource), text=True, capture_output=True
    )
    if node.returncode != 0:
        yield from (node.stdout or node.stderr).strip().splitlines()


def main(script, *manifests):
    if not manifests:
        sys.exit("check.py: no manifests")
    is_wrong = False
    for manifest in manifests:
        with open(manifest, encoding="utf-8") as file:
            resources = [resource for resource in yaml.safe_load_all(file) if resource]
        if not resources:
            sys.exit(f"{manifest}: no resource in it")
        for resource in resources:
            is_kedas = str(resource.get("apiVersion", "")).startswith("keda.sh/")
            wrong = list(by_keda(script, resource) if is_kedas else by_kubernetes(resource))
            name = f"{resource.get('kind')} {resource.get('metadata', {}).get('name')}"
            print(f"{manifest}: {name}: {'as the schemas say' if not wrong else 'wrong'}")
            for line in wrong:
                print(f"  {line}")
            is_wrong |= bool(wrong)
    sys.exit(is_wrong)


main(*sys.argv[1:])
