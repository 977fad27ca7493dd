"""The costs as an SVG: for each load a group of bars, each server's CPU time as a multiple of ours."""
from html import escape

from tables import ratio

WIDTH, LEFT, RIGHT = 860, 210, 90
BAR, GAP, TOP = 13, 12, 84
LONGEST = 4.0  # bars end here unless told otherwise; their number shows the whole value
COLOURS = ("#2f6f4f", "#8fbf9f", "#c2703d", "#5b7db1", "#a8823a", "#8a6a9e", "#777777")
STYLE = "font-family: sans-serif; font-size: 12px; fill: #333"


def text(x, y, words, anchor="start", style=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{STYLE}{style}">{escape(words)}</text>'


def bar(y, times, colour, longest):
    length = max(0, min(times, longest)) / longest * (WIDTH - LEFT - RIGHT)
    yield f'<rect x="{LEFT}" y="{y:.1f}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>'
    if times > longest:
        cut = LEFT + length - 16
        yield f'<path d="M{cut:.1f} {y + BAR} l4 {-BAR - 1} h4 l-4 {BAR + 1} z" fill="#fff"/>'
    yield text(LEFT + length + 5, y + BAR - 3, f"{times:.2f}×")


def legend(names):
    x, y = LEFT, 34
    for name, colour in names:
        width = 34 + 7 * len(name)
        if x + width > WIDTH:
            x, y = LEFT, y + 18
        yield f'<rect x="{x}" y="{y}" width="11" height="11" fill="{colour}"/>'
        yield text(x + 16, y + 10, name)
        x += width


def draw(results, longest=LONGEST):
    """SVG text. The yardsticks are left out: nobody could use them."""
    servers = [server for server in results.servers if server.kind != "yardstick"]
    colours = {server.name: COLOURS[i % len(COLOURS)] for i, server in enumerate(servers)}
    ours, parts, y = servers[0].name, [], TOP
    for load in results.loads:
        runs = results.runs[load]
        times = {server.name: ratio(runs.get(server.name, []), runs.get(ours, [])) for server in servers}
        shown = {name: value for name, value in times.items() if value}
        if ours not in shown or len(shown) < 2:
            continue
        parts.append(text(LEFT - 10, y + len(shown) * BAR / 2 + 4, load, "end"))
        for name, value in shown.items():
            parts += bar(y, value, colours[name], longest)
            y += BAR
        y += GAP
    x = LEFT + (WIDTH - LEFT - RIGHT) / longest
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}">',
            f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>',
            text(LEFT, 20, f"CPU time for the same work, {ours} = 1 (shorter is better)", style="; font-weight: bold"),
            f'<path d="M{x:.1f} {TOP - 6} V{y - 6}" stroke="#bbb" stroke-dasharray="3 3"/>']
    return "\n".join([*head, *legend(colours.items()), *parts, "</svg>"]) + "\n"
