#!/usr/bin/env python3
"""join.py OUTPUT.c: page.html with its style and scripts in it, and the policy to send with it, as C.

The policy names each of them by its hash, so that nothing else runs, whatever a client calls itself.
"""
import base64
import hashlib
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
REFERENCE = re.compile(r'<link rel="stylesheet" href="(?P<style>[^"]+)">|<script src="(?P<script>[^"]+)"></script>')

C_FILE = """/* Made by src/admin/page/join.py. */
#include "admin/page.h"

static const unsigned char html[] = {{
{html}
}};

const struct admin_page admin_page = {{
    .html = (const char *)html,
    .size = sizeof html,
    .policy = "{policy}",
}};
"""


def join():
    """(HTML, Content-Security-Policy)."""
    hashes = {"style": [], "script": []}

    def embed(match):
        tag = match.lastgroup
        text = "\n" + (FOLDER / match[tag]).read_text("utf-8")
        if f"</{tag}" in text:
            raise SystemExit(f"join.py: {match[tag]} would end at its </{tag}")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[tag].append(f"'sha256-{digest}'")
        return f"<{tag}>{text}</{tag}>"

    page = REFERENCE.sub(embed, (FOLDER / "page.html").read_text("utf-8"))
    policy = [
        "default-src 'none'",
        "script-src " + " ".join(hashes["script"]),
        "style-src " + " ".join(hashes["style"]),
        "connect-src 'self'",
        "img-src data:",  # the icon
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return page, "; ".join(policy)


def main():
    page, policy = join()
    data = page.encode()
    lines = [", ".join(map(str, data[at:at + 24])) for at in range(0, len(data), 24)]
    Path(sys.argv[1]).write_text(C_FILE.format(html=",\n".join(lines), policy=policy), "utf-8")


if __name__ == "__main__":
    main()
