"""Medians, ratios, and the tables made of them."""
from statistics import median

NOTHING = "–"


def values(runs, *path):
    """What `path` leads to in each run that has it."""
    for run in runs:
        for key in path:
            run = run.get(key) if isinstance(run, dict) else None
        if run is not None:
            yield run


def middle(runs, *path):
    found = list(values(runs, *path))
    return median(found) if found else None


def ratio(one, other):
    """One's cost divided by the other's, round by round: neighbours in time share the machine's moods."""
    pairs = [(a.get("cost"), b.get("cost")) for a, b in zip(one, other)]
    found = [a / b for a, b in pairs if a and b]
    return median(found) if found else None


def number(value, digits=3):
    if value is None:
        return NOTHING
    if value and abs(value) < 1:
        return f"{value:.{digits}f}".lstrip("0")
    return f"{value:.{max(0, digits - len(str(int(abs(value)))))}f}"


def failure(runs):
    """The first thing that went wrong, in a few words."""
    for run in runs:
        if "error" in run:
            return run["error"]
        wrong = [f"{count} wrong {what}" for what, count in run.get("wrong", {}).items() if count]
        if wrong:
            return ", ".join(wrong)
    return None


def loss(runs):
    """Per cent of what was sent."""
    lost, sent = sum(values(runs, "lost")), sum(values(runs, "sent"))
    return 100 * lost / sent if sent else None


def table(head, rows):
    """Without the rows and columns that hold nothing."""
    kept = [0] + [i for i in range(1, len(head)) if any(row[i] != NOTHING for row in rows)]
    if len(kept) == 1:
        return ""
    head, rows = [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows if any(cell != NOTHING for cell in row[1:])]
    return "\n".join(lines) + "\n"


class Results:
    """runs[load][server]: one dict per round; the first server is ours."""

    def __init__(self, loads, servers, runs):
        self.loads, self.servers, self.runs = loads, servers, runs

    def per_cell(self, title, cell):
        head = [title] + [server.name for server in self.servers]
        rows = [[load] + [cell(load, self.runs[load].get(server.name, [])) for server in self.servers]
                for load in self.loads]
        return table(head, rows)

    def cost(self, load, runs):
        if not runs:
            return NOTHING
        cost, broken = middle(runs, "cost"), failure(runs)
        ours = self.runs[load].get(self.servers[0].name, [])
        share = ratio(ours, runs) if runs is not ours else None
        text = number(cost)
        if share is not None:
            text += f" ({number(share)})"
        return f"{text} **failed**" if broken else text

    def costs(self):
        units = {load: unit for load in self.loads for runs in self.runs[load].values()
                 for unit in values(runs, "cost_unit")}
        named = {load: f"{load} ({units[load]})" for load in units}
        head = ["CPU of the server"] + [server.name for server in self.servers]
        rows = [[named[load]] + [self.cost(load, self.runs[load].get(server.name, [])) for server in self.servers]
                for load in self.loads if load in named]
        return table(head, rows)

    def losses(self):
        def cell(_, runs):
            share = loss(runs)
            return NOTHING if share is None else "0" if share == 0 else f"{number(share)} %"
        return self.per_cell("lost", cell)

    def latencies(self):
        def cell(_, runs):
            found = [middle(runs, "latency_us", key) for key in ("p50", "p99", "p99.9")]
            return NOTHING if None in found else " / ".join(f"{value:.0f}" for value in found)
        return self.per_cell("µs, p50 / p99 / p99.9", cell)

    def sizes(self):
        def cell(_, runs):
            kib, descriptors, tasks = (middle(runs, key) for key in ("kib_each", "descriptors_each", "tasks_each"))
            if kib is None:
                return NOTHING
            threads = f", {tasks:.2f} threads" if tasks and tasks > 0.005 else ""
            return f"{number(kib)} KiB, {descriptors:.1f} descriptors{threads}"
        return self.per_cell("each idle one holds", cell)

    def shares(self):
        """The others' cost divided by the first one's."""
        base = self.servers[0].name
        head = ["CPU of the server"] + [f"{server.name} ÷ {base}" for server in self.servers[1:]]
        rows = [[load] + [number(ratio(self.runs[load].get(server.name, []), self.runs[load].get(base, [])))
                          for server in self.servers[1:]] for load in self.loads]
        return table(head, rows)

    def failures(self):
        for load in self.loads:
            for server in self.servers:
                broken = failure(self.runs[load].get(server.name, []))
                if broken:
                    yield server, load, broken

    def markdown(self):
        ours = self.servers[0].name
        parts = [f"Server CPU, user and system; in brackets: {ours}'s divided by theirs.\n", self.costs(),
                 self.sizes(), self.losses(), self.latencies()]
        broken = [f"- {server.name}, {load}: {what}" for server, load, what in self.failures()]
        if broken:
            parts.append("Failures:\n\n" + "\n".join(broken) + "\n")
        return "\n".join(part for part in parts if part)
