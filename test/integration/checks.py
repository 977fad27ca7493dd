"""conesocks check, run and read."""
import json
import os
import re

from daemon import PROGRAM


class Found:
    """What a check has printed, in either form."""

    def __init__(self, result):
        self.status, self.text = result.returncode, result.stdout
        print(self.text)

    @property
    def json(self):
        return json.loads(self.text)

    def step(self, name):
        """Its status, found, cause, fix and data."""
        (step,) = [step for step in self.json["steps"] if step["id"] == name]
        return step

    def statuses(self):
        return {step["id"]: step["status"] for step in self.json["steps"]}

    def blames(self, name, cause, fix=""):
        """The step has failed or is worth a warning, and these patterns are in its cause and its fix."""
        step = self.step(name)
        assert step["status"] in ("failed", "warning"), step
        assert re.search(cause, step["cause"]) and re.search(fix, step["fix"] or ""), step
        assert self.status == self.json["exit_status"] == 1
        return True


def run_check(host, *arguments, proxy=None, form="--json", **environment):
    """With `form` None: for people. What is named besides goes into the environment."""
    options = [*(("--proxy", proxy) if proxy else ()), *((form,) if form else ()), *arguments]
    return Found(host.run(PROGRAM, "check", *options, timeout=100, env=os.environ | environment))
