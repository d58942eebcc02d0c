// Compares a resource of KEDA, JSON on standard input, with KEDA's definition of its kind; says what
// is wrong, and fails, if anything is.
import { readFileSync } from "node:fs";
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";

const resource = JSON.parse(readFileSync(0, "utf8"));
const Kind = keda[resource.kind];
if (resource.apiVersion !== "keda.sh/v1alpha1" || Kind === undefined) {
  console.log(`KEDA has no ${resource.kind} of ${resource.apiVersion}`);
  process.exit(1);
}
try {
  new Kind(resource).validate();
} catch (error) {
  console.log(`KEDA: ${error.message}`);
  process.exit(1);
}

// A definition lets pass what it has no key for, which the cluster then drops without a word. The
// validator looks at no other keys than the definition's: what it does not look at is unknown.
const schema = `_schemas/ComGithubKedacoreKedaV2ApisKedaV1alpha1${resource.kind}.js`;
const { validate } = await import(new URL(schema, import.meta.resolve("@kubernetes-models/keda")));
const unseen = new Set();
const watched = (value, path) => {
  if (value === null || typeof value !== "object") return value;
  // The Job inside is one of Kubernetes' own, which is compared with its schema.
  if (path === "spec.jobTargetRef") return value;
  const name = (key) => (path === "" ? key : `${path}.${key}`);
  if (!Array.isArray(value)) Object.keys(value).forEach((key) => unseen.add(name(key)));
  const inside = new Map(Object.keys(value).map((key) => [key, watched(value[key], name(key))]));
  const get = (target, key) => {
    if (!inside.has(key)) return target[key];
    unseen.delete(name(key));
    return inside.get(key);
  };
  return new Proxy(value, { get });
};
validate(watched(resource, ""));
// Of what is unknown as a whole, the outermost key says enough.
const isWithin = (name) => [...unseen].some((other) => name.startsWith(`${other}.`));
const unknown = [...unseen].filter((name) => !isWithin(name));
unknown.forEach((name) => console.log(`KEDA: ${name}: there is no such key`));
process.exit(unknown.length > 0 ? 1 : 0);
