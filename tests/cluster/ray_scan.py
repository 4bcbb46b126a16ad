"""medscan on a command line, with scanners that take their time or die: `ray_scan.py KIND WORDS`.

Workers of the cluster import this file too.
"""

import os
import signal
import sys
import time

import ray

from medscan import worker
from medscan.cli import main
from medscan.cluster import nodes as cluster
from medscan.cluster import scanner
from medscan.cluster.scanner import Scanner
from medscan.reading import jobs


class Slow(Scanner):
    """Time enough to kill something."""

    def _submit(self, job):
        time.sleep(0.3)
        return super()._submit(job)


class Deadly(Scanner):
    """Is killed whenever it meets patient 3; its decoders abort at a slice of patient 5."""

    def _run(self, tasks, messages):
        if any(task.study.files()[0].full.parent.name == "patient3" for task in tasks):
            os.kill(os.getpid(), signal.SIGKILL)
        super()._run(tasks, messages)

    def _submit(self, job):
        near = {"num_cpus": 1, "scheduling_strategy": self.placement}
        return (
            ray.remote(drawn_crashing)
            .options(**near)
            .remote(job, self.options.inputs.file_timeout_s)
        )


def drawn_crashing(job, file_timeout_s):
    worker.serve = serve_crashing
    return scanner.draw_in_task(job, file_timeout_s)


def serve_crashing(*args):
    real = jobs.draw_job

    def draw_job(job, memory):
        if any(f.file.full.match("patient5/0002") for f in job.frames):
            os.abort()
        return real(job, memory)

    jobs.draw_job = draw_job
    worker.serve(*args)


KINDS = {"plain": Scanner, "slow": Slow, "deadly": Deadly}

if __name__ == "__main__":
    from tests.cluster import ray_scan

    cluster.Scanner = ray_scan.KINDS[sys.argv.pop(1)]
    main()
