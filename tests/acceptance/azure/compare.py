"""Checks that main.bicep asks for the same resources that deploy.sh sent.

Takes the Bicep file, the file of sent resources (see az), and parameters NAME=VALUE. Parses Bicep with a third-party grammar
and evaluates the part of the language that the file uses. It knows no types, so it cannot check which properties a resource
has. That is the task of the Bicep compiler. Here the requests of the Azure CLI are the reference.
"""
import hashlib
import json
import sys
from pathlib import Path

import tree_sitter
import tree_sitter_bicep

FILE, PUT = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
PARAMETERS = dict(pair.split("=", 1) for pair in sys.argv[3:])
SENT = {id.lower(): of["sent"] for id, of in PUT.items()}
IS = {id.lower(): of["is"] for id, of in PUT.items()}
GROUP = next(of["is"] for id, of in PUT.items() if "/providers/" not in id)
SUBSCRIPTION = {"tenantId": next(of["is"] for id, of in PUT.items() if "/userAssigned" in id)["properties"]["tenantId"]}


def text(node):
    return node.text.decode()


def parsed(path):
    root = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language())).parse(path.read_bytes()).root_node
    queue = [root]
    while queue:
        node = queue.pop()
        if node.is_error or node.is_missing:
            sys.exit(f"{path}:{node.start_point[0] + 1}: cannot be parsed: {text(node)[:60]!r}")
        queue += node.children
    return root


class Resource(dict):
    """A resource of the file: `id`, `name` and `properties` as Azure would return them; `body` is the request."""


class File:
    def __init__(self, root):
        self.names, self.declared = {}, {}
        for node in root.named_children:
            if node.type.endswith("_declaration") and node.named_children[0].type == "identifier":
                self.declared[text(node.named_children[0])] = node

    def name(self, name, scope):
        if name in scope:
            return scope[name]
        if name not in self.declared:
            sys.exit(f"{FILE}: {name} is not declared")
        if name not in self.names:
            self.names[name] = self.declaration(name, self.declared[name])
        return self.names[name]

    def declaration(self, name, node):
        kind, value = node.type, node.named_children[-1]
        if kind == "parameter_declaration":
            if name in PARAMETERS:
                return PARAMETERS[name]
            assert any(text(child) == "=" for child in node.children), f"{name} needs a value"
            return self.value(value, {})
        if kind in ("variable_declaration", "output_declaration"):
            return self.value(value, {})
        assert kind == "resource_declaration", kind
        type = text(node.named_children[1]).strip("'").split("@")[0]
        existing = any(text(child) == "existing" for child in node.children)
        if value.type != "for_statement":
            return self.resource(type, self.value(value, {}), existing)
        loop, over, body = value.named_children[0], value.named_children[-2], value.named_children[-1]
        names = [text(child) for child in loop.named_children] if loop.named_children else [text(loop)]
        return [self.resource(type, self.value(body, dict(zip(names, (item, place)))), existing)
                for place, item in enumerate(self.value(over, {}))]

    def resource(self, type, body, existing):
        parent, scope = body.pop("parent", None), body.pop("scope", None)
        if parent:
            id = f"{parent['id']}/{type.rsplit('/', 1)[-1]}/{body['name']}"
        else:
            id = f"{(scope or GROUP)['id']}/providers/{type}/{body['name']}"
        known = IS.get(id.lower(), {"properties": {}})
        name = body.pop("name")
        return Resource(id=id, name=name, properties=known["properties"], body=None if existing else body)

    def value(self, node, scope):
        children = node.named_children
        match node.type:
            case "string":
                parts = [child for child in children if child.type in ("string_content", "interpolation", "escape_sequence")]
                return "".join(text(part) if part.type != "interpolation"
                               else str(self.value(part.named_children[0], scope)) for part in parts)
            case "number":
                return int(text(node))
            case "boolean":
                return text(node) == "true"
            case "identifier":
                return self.name(text(node), scope)
            case "array":
                return [self.value(child, scope) for child in children if child.type != "comment"]
            case "object":
                pairs = [child.named_children for child in children if child.type == "object_property"]
                return {text(key) if key.type == "identifier" else self.value(key, scope): self.value(of, scope)
                        for key, of in pairs}
            case "member_expression":
                return self.value(children[0], scope)[text(children[1])]
            case "subscript_expression":
                return self.value(children[0], scope)[self.value(children[1], scope)]
            case "ternary_expression":
                return self.value(children[1 if self.value(children[0], scope) else 2], scope)
            case "call_expression":
                return self.call(text(children[0]), [self.value(child, scope) for child in children[1].named_children])
        sys.exit(f"{FILE}:{node.start_point[0] + 1}: {node.type} is not understood: {text(node)[:60]!r}")

    def call(self, name, given):
        functions = {
            "resourceGroup": lambda: GROUP,
            "subscription": lambda: SUBSCRIPTION,
            "subscriptionResourceId": lambda type, name: f"{GROUP['id'].split('/resourceGroups/')[0]}/providers/{type}/{name}",
            "concat": lambda *lists: sum(lists, []),
            "empty": lambda of: not of,
            "json": json.loads,
            # Azure's own hash differs, but the same input must go into it.
            "uniqueString": lambda *of: hashlib.sha256("\0".join(of).encode()).hexdigest()[:13],
            "guid": lambda *of: "-".join(of).replace("/", "|"),
            "loadJsonContent": lambda path: json.loads((FILE.parent / path).read_text()),
        }
        return functions[name](*given)


def key(id, body):
    """The identity of a resource: its id, without generated names."""
    start, _, _ = id.lower().rpartition("/")
    if start.endswith("/roledefinitions"):
        return f"{start}/{body['properties']['roleName']}"
    return start if start.endswith("/roleassignments") else id.lower()


# Key Vault Secrets User, a built-in role of Azure.
BUILT_IN = "4633458b-17de-408a-b874-0445c86b69e6"


def is_made(role):
    """Whether both the file and the script generate this value."""
    return "/roleDefinitions/" in role and not role.endswith(BUILT_IN)


def differences(wanted, sent, at=""):
    """The parts of the Bicep file that the script did not send. The CLI may add others."""
    if isinstance(wanted, dict) and isinstance(sent, dict):
        there = {name.lower(): value for name, value in sent.items()}
        for name, value in wanted.items():
            yield from differences(value, there.get(name.lower(), "nothing"), f"{at}.{name}")
    elif isinstance(wanted, list) and isinstance(sent, list) and len(wanted) == len(sent):
        for place, pair in enumerate(zip(wanted, sent)):
            yield from differences(*pair, f"{at}[{place}]")
    elif wanted != sent and not (at.endswith(".roleDefinitionId") and is_made(wanted) and is_made(sent)):
        yield f"{at}: Bicep {wanted!r}, script {sent!r}"


file = File(parsed(FILE))
bicep = {}
for name in file.declared:
    found = file.name(name, {})
    for resource in found if isinstance(found, list) else [found]:
        if isinstance(resource, Resource) and resource["body"] is not None:
            bicep[key(resource["id"], resource["body"])] = resource["body"]
script = {key(id, body): body for id, body in SENT.items() if "/providers/" in id}
for only, there in (("main.bicep", bicep.keys() - script.keys()), ("deploy.sh", script.keys() - bicep.keys())):
    for one in sorted(there):
        print(f"only in {only}: {one}")
found = [f"{id.rsplit('/providers/', 1)[-1]}{line}" for id in sorted(bicep.keys() & script.keys())
         for line in differences(bicep[id], script[id])]
print("\n".join(found) if found else f"{len(bicep)} resources: the script and the Bicep file ask for the same")
sys.exit(bool(found) or bicep.keys() != script.keys())
