"""Two nodes of a Ray cluster: prints its address and where it logs, then does as it is told.

A line `remove` takes a node away, the end of standard input ends it all.
"""

import sys

from ray.cluster_utils import Cluster


def main():
    cluster = Cluster()
    nodes = [cluster.add_node(num_cpus=2, include_dashboard=False) for _ in range(2)]
    sys.stdout.write(f"{cluster.address} {nodes[0].get_session_dir_path()}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(nodes.pop())
            sys.stdout.write("removed\n")
            sys.stdout.flush()
    cluster.shutdown()


if __name__ == "__main__":
    main()
