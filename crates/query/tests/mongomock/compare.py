"""Asks mongomock and the query language the same questions (docs/design/queries.md, "Proof").

    compare.py ANSWER [SEEDS]

ANSWER is the program of crates/query/examples/answer.rs. Cases are drawn from the seeds 0, 1, 2, ...
Every difference must be one that EXPLAINED names, with the reason; any other fails.
"""

import copy
import json
import random
import subprocess
import sys

import mongomock

NAMES = ["a", "b", "c"]


def scalar(rng):
    return rng.choice([0, 1, 2, 3, -1, 1.5, 2.0, "", "a", "b", "ab", True, False, None])


def value(rng, depth):
    kind = rng.random() if depth else 0
    if kind < 0.6:
        return scalar(rng)
    if kind < 0.8:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return fields(rng, depth - 1)


def fields(rng, depth):
    return {rng.choice(NAMES): value(rng, depth) for _ in range(rng.randrange(4))}


def document(rng, number):
    return {"_id": number, **fields(rng, 2)}


def path(rng):
    parts = [rng.choice(NAMES)]
    while len(parts) < 3 and rng.random() < 0.3:
        parts.append(rng.choice(NAMES + ["0", "1"]))
    return ".".join(parts)


def number(rng):
    return rng.choice([0, 1, 2, 3, -1, 1.5])


def values(rng):
    return [value(rng, 1) for _ in range(rng.randrange(1, 4))]


def operator(rng, depth):
    return rng.choice(
        [
            lambda: {"$eq": value(rng, 1)},
            lambda: {"$ne": value(rng, 1)},
            lambda: {rng.choice(["$gt", "$gte", "$lt", "$lte"]): rng.choice([1, 2, "a", 1.5])},
            lambda: {rng.choice(["$in", "$nin"]): values(rng)},
            lambda: {"$exists": rng.random() < 0.5},
            lambda: {"$size": rng.randrange(3)},
            lambda: {"$type": rng.choice(["string", "object", "array", "bool", "double"])},
            lambda: {"$regex": rng.choice(["^a", "b$", "a"])},
            lambda: {"$all": values(rng)},
            lambda: {"$elemMatch": query(rng, 0)},
            lambda: {"$elemMatch": {"$gt": 0, "$lt": 3}},
            lambda: {"$not": operator(rng, 0)} if depth else {"$eq": 1},
        ]
    )()


def query(rng, depth):
    if depth and rng.random() < 0.25:
        return {rng.choice(["$and", "$or", "$nor"]): [query(rng, depth - 1), query(rng, 0)]}
    return {path(rng): scalar(rng) if rng.random() < 0.3 else operator(rng, depth)}


def change(rng):
    return rng.choice(
        [
            lambda: {"$set": {path(rng): value(rng, 1)}},
            lambda: {"$unset": {path(rng): 1}},
            lambda: {"$inc": {path(rng): number(rng)}},
            lambda: {rng.choice(["$min", "$max"]): {path(rng): number(rng)}},
            lambda: {"$rename": {rng.choice(NAMES): "d"}},
            lambda: {"$push": {path(rng): value(rng, 1)}},
            lambda: {"$push": {path(rng): {"$each": values(rng), "$slice": rng.randrange(-3, 4)}}},
            lambda: {"$push": {path(rng): {"$each": values(rng), "$position": rng.randrange(0, 3)}}},
            lambda: {"$addToSet": {path(rng): value(rng, 1)}},
            lambda: {"$addToSet": {path(rng): {"$each": values(rng)}}},
            lambda: {"$pull": {path(rng): scalar(rng)}},
            lambda: {"$pull": {path(rng): {"$gte": 1}}},
            lambda: {"$pullAll": {path(rng): values(rng)}},
            lambda: {"$pop": {path(rng): rng.choice([1, -1])}},
        ]
    )()


def stage(rng):
    name = "$" + rng.choice(NAMES)
    return rng.choice(
        [
            lambda: {"$match": query(rng, 1)},
            lambda: {"$sort": {rng.choice(NAMES): rng.choice([1, -1]), "_id": 1}},
            lambda: {"$limit": rng.randrange(1, 5)},
            lambda: {"$skip": rng.randrange(3)},
            lambda: {"$unwind": name},
            lambda: {"$project": {rng.choice(NAMES): 1}},
            lambda: {"$group": {"_id": name, "n": {"$sum": 1}, "all": {"$push": "$_id"}}},
            lambda: {"$count": "n"},
            lambda: {"$addFields": {"z": {"$cond": [{"$gt": [name, 1]}, "more", "less"]}}},
        ]
    )()


def draw(seed):
    rng = random.Random(seed)
    case = {"docs": [document(rng, n) for n in range(5)]}
    kind = rng.random()
    if kind < 0.5:
        case["filter"] = query(rng, 2)
    elif kind < 0.8:
        case["filter"] = query(rng, 0) if rng.random() < 0.5 else {}
        case["update"] = change(rng)
    elif kind < 0.9:
        case["filter"] = {}
        keep = rng.choice([0, 1])
        case["fields"] = {name: keep for name in rng.sample(NAMES, rng.randrange(1, 3))}
    else:
        case["pipeline"] = [stage(rng) for _ in range(rng.randrange(1, 4))]
    return case


def ask_mongomock(case):
    case = copy.deepcopy(case)
    collection = mongomock.MongoClient().db.c
    collection.insert_many(case["docs"])
    if "pipeline" in case:
        return list(collection.aggregate(case["pipeline"]))
    if "update" in case:
        collection.update_many(case["filter"], case["update"])
        return list(collection.find())
    return list(collection.find(case["filter"], case.get("fields")))


def names(value, found):
    """Every field and operator name anywhere in a value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            found.add(name)
            names(inner, found)
    elif isinstance(value, list):
        for inner in value:
            names(inner, found)
    return found


def has(case, *operators):
    return bool(names([case.get(k) for k in ("filter", "update", "pipeline")], set()) & set(operators))


def anywhere(value, test):
    if test(value):
        return True
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and any(anywhere(inner, test) for inner in value)


def dotted(case, key):
    return [name for name in names(case.get(key), set()) if "." in name]


def meets_no_document(case):
    """A path of the filter goes on where some document holds a scalar or a list."""
    for name in dotted(case, "filter") + dotted(case, "pipeline"):
        for held in case["docs"]:
            for part in name.split(".")[:-1]:
                held = held.get(part) if isinstance(held, dict) else held
                if held is not None and not isinstance(held, dict):
                    return True
    return False


def negates(case):
    question = [case.get(k) for k in ("filter", "pipeline")]
    return anywhere(question, lambda one: one is None) or has(case, "$not", "$ne", "$nin", "$nor")


def is_bool(value):
    return isinstance(value, bool)


# Where mongomock does not do what MongoDB does: a name, why, and when it can matter.
EXPLAINED = json.load(open(__file__.replace("compare.py", "explained.json")))


TESTS = {
    "operator": lambda case, rule, theirs, ours: has(case, *rule["operators"]),
    "they_refuse": lambda case, rule, theirs, ours: "error" in theirs
    and rule["text"] in theirs["error"]
    and has(case, *rule["operators"]),
    "we_refuse": lambda case, rule, theirs, ours: "error" in ours
    and rule["text"] in ours["error"],
    "dotted_update": lambda case, rule, theirs, ours: bool(dotted(case, "update"))
    and has(case, *rule["operators"]),
    "nowhere": lambda case, rule, theirs, ours: meets_no_document(case) and negates(case),
    "nested_lists": lambda case, rule, theirs, ours: anywhere(
        case["docs"], lambda one: isinstance(one, list) and any(isinstance(x, list) for x in one)
    )
    and anywhere(case.get("filter"), lambda one: isinstance(one, list)),
    "booleans": lambda case, rule, theirs, ours: anywhere(case, is_bool),
}


def explanation(case, theirs, ours):
    for rule in EXPLAINED:
        if TESTS[rule["when"]](case, rule, theirs, ours):
            return rule["name"]
    return None


def same(left, right):
    """As Python, but true is not 1, and what groups come first does not matter."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    return left == right


def in_any_order(case, rows):
    if any("$group" in one for one in case.get("pipeline", [])):
        return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
    return rows


def main():
    answer, seeds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    cases = [draw(seed) for seed in range(seeds)]
    lines = "\n".join(json.dumps(case) for case in cases)
    done = subprocess.run([answer], input=lines, capture_output=True, text=True, check=True)
    agreed, refused, explained, unexplained = 0, 0, {}, []
    for seed, (case, line) in enumerate(zip(cases, done.stdout.splitlines())):
        ours = json.loads(line)
        try:
            theirs = ask_mongomock(case)
        except Exception as error:  # Whatever it raises is a refusal.
            theirs = {"error": f"{type(error).__name__}: {error}"}
        if "error" in ours and "error" in theirs:
            refused += 1
        elif "error" not in ours and "error" not in theirs and same(
            in_any_order(case, ours), in_any_order(case, theirs)
        ):
            agreed += 1
        elif (why := explanation(case, theirs, ours)) is not None:
            explained[why] = explained.get(why, 0) + 1
        else:
            unexplained.append((seed, case, theirs, ours))
    print(f"mongomock {mongomock.__version__}: {agreed} agree, {refused} refused by both")
    for rule in EXPLAINED:
        print(f"  {explained.get(rule['name'], 0):5} explained: {rule['name']}: {rule['why']}")
    for seed, case, theirs, ours in unexplained[:20]:
        print(f"seed {seed}: {json.dumps(case)}\n  mongomock: {theirs}\n  ours:      {ours}")
    print(f"{len(unexplained)} not explained")
    # What is explained away is not compared: it must stay rare.
    too_many = [r["name"] for r in EXPLAINED if explained.get(r["name"], 0) > seeds * r["most"] + 3]
    for name in too_many:
        print(f"explains too much: {name}")
    sys.exit(1 if unexplained or too_many or agreed < seeds * 0.75 else 0)


if __name__ == "__main__":
    main()
