"""Hooks of schemathesis: who makes each request, with what of his own, and how each operation answered.

The plan is a JSON file that the test writes. "people" are access tokens by name, "" is nobody.
"rotation" are those who make generated requests, in turn; "own" are path parameters, by
operation, with which its first one finds something. "requests" are sent as they are.
"""

import atexit
import itertools
import json
import os

import schemathesis
from schemathesis.core import NOT_SET

AS = "Fuzzer-As"  # who makes a request of the plan; not sent

with open(os.environ["QUADRILLE_FUZZER_PLAN"], encoding="utf-8") as file:
    plan = json.load(file)
names = {f"Bearer {token}": name for name, token in plan["people"].items() if token}
turns = itertools.cycle(plan["rotation"])
answers = {}


def operation_id(operation):
    return operation.definition.raw["operationId"]


@schemathesis.serializer("application/x-ndjson")
def json_lines(context, value):
    if isinstance(value, (str, bytes)):
        return {"data": value}
    return {"data": json.dumps(value) + "\n"}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            if isinstance(operation, dict) and "operationId" in operation and not set(operation["tags"]) & set(plan["elsewhere"]):
                answers[operation["operationId"]] = {"documented": list(operation["responses"]), "counts": {}}


@schemathesis.hook
def before_add_examples(context, examples):
    operation = context.operation
    for request in plan["requests"].get(operation_id(operation)) or []:
        body = request.get("body")
        examples.append(
            operation.Case(
                path_parameters=request.get("path") or {},
                query=request.get("query") or {},
                headers={**(request.get("headers") or {}), AS: request["as"]},
                body=NOT_SET if body is None else body,
                media_type=None if body is None else request.get("media") or "application/json",
            )
        )


@schemathesis.hook
def before_call(context, case, **kwargs):
    who = case.headers.pop(AS, None)
    if who is None:
        if not plan["rotation"] or case.headers.get("Authorization") in names:
            return
        who = next(turns)
        own = plan["own"].get(operation_id(case.operation))
        if own and who == plan["rotation"][0] and isinstance(case.path_parameters, dict):
            case.path_parameters = {**case.path_parameters, **own}
    case.headers.pop("Authorization", None)
    if plan["people"].get(who):
        case.headers["Authorization"] = f"Bearer {plan['people'][who]}"


@schemathesis.hook
def after_call(context, case, response):
    operation = case.operation
    if case.method.upper() != operation.method.upper():  # it tries methods that there are not
        return
    counts = answers[operation_id(operation)]["counts"]
    who = names.get((case.headers or {}).get("Authorization"), plan["people_without_token"])
    key = f"{who} {response.status_code}"
    counts[key] = counts.get(key, 0) + 1


@atexit.register
def tell():
    with open(plan["answers"], "w", encoding="utf-8") as file:
        json.dump(answers, file)
