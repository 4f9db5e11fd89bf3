"""Closed-form lower bounds on multicast between nodes with equal ports.

What is assumed of every schedule, and of nothing else:

- a node sends at most one block at a time and receives at most one block at a time (full duplex, one port);
- a copy of a block is moved whole: from one holder, without a pause, and it is a holder only when it has arrived;
- every port has the same rate, and no transfer is faster than its port.

A schedule that splits one copy over two holders, or lets two transfers share a port, is outside these bounds: with
two sources, three receivers and one block it needs 1.5 block times where whole copies need 2.

Everything is exact integer arithmetic.  A bound in nanoseconds is rounded down, so that it never exceeds the optimum.
The one fact behind every proof:

DOUBLING.  Let each copy take at least `d`.  A copy that arrives in the interval (t - d, t] left at t - d or before, so
its sender was a holder at t - d, and a sender completes at most one copy in an interval of that length.  Hence
holders(t) <= 2 holders(t - d), and from s sources  holders(t) <= s 2^floor(t / d).  It holds for the nodes that hold
*some* block with d the time of the smallest block, and for the holders of *one* block with d the time of that block.
"""

from collections.abc import Iterator, Sequence

_NS_PER_SECOND = 1_000_000_000


def multicast_ticks_bound(nodes: int, sources: int, blocks: int) -> int:
    """Fewest ticks after which all `nodes` hold all `blocks`, which nodes 0 .. `sources` - 1 hold at first.

    With R = nodes - sources receivers, at most min(R, s 2^t) copies arrive in tick t = 0, 1, .. (DOUBLING), and b R
    must arrive.  Each tick t falls short of R arrivals by max(0, R - s 2^t), hence

        T >= b + ceil(sum over t >= 0 of max(0, 1 - s 2^t / R)).

    The sum may run over all t, for none that counts lies past T: in the end all N = R + s nodes are holders, so
    s 2^T >= N > R, and ticks t >= T do not fall short.
    0 when there are no receivers.  Raises ValueError unless 1 <= sources <= nodes and blocks >= 1.
    """
    receivers = _receivers(nodes, sources, blocks)
    if receivers == 0:
        return 0
    return blocks + _ceil_div(_shortfall(receivers, sources), receivers)


def first_cover_ticks_bound(nodes: int, sources: int, blocks: int) -> int:
    """Fewest ticks after which the receivers together hold every block.

    A block that no receiver holds can only be sent by a source.  So in one tick at most `sources` blocks that are new
    to the receivers' union can leave, and at most one per receiver can arrive: the union grows by at most
    min(sources, receivers) blocks per tick, hence  T >= ceil(b / min(s, N - s)).
    0 when there are no receivers.  Raises ValueError unless 1 <= sources <= nodes and blocks >= 1.
    """
    receivers = _receivers(nodes, sources, blocks)
    if receivers == 0:
        return 0
    return _ceil_div(blocks, min(sources, receivers))


def multicast_time_bound_ns(receivers: int, sources: int, block_bytes: Sequence[int], bytes_per_second: int) -> int:
    """Least time, in nanoseconds rounded down, after which every receiver holds every block.

    A schedule for all blocks contains one for any of them, and stays feasible when blocks shrink.  So for each k it is
    bounded by what the k largest blocks need; let z be the smallest of these, S their sum, and count time in bytes
    through one port.  The result is the largest, over k, of

    - demand against capacity: R S bytes must be received, and at time t at most min(R, s 2^floor(t / z)) ports
      receive (DOUBLING).  So  T >= S + z (sum over i >= 0 of max(0, 1 - s 2^i / R)); the sum may run over all i
      because s 2^floor(T / z) >= R + s;
    - whole ticks: blocks all shrunk to z need `multicast_ticks_bound(R + s, s, k)` times z.  (When all take equally
      long, starting each copy as early as its order allows makes every start a multiple of z.)
    - the last block: some block reaches its first receiver only at F >= the first cover of the k blocks, see
      `first_cover_time_bound_ns`.  At F it has at most 2 s holders, one new one per source, and R + s need DOUBLING
      ceil(log2((R + s) / s)) - 1 times more, z or longer each.

    0 when there are no receivers or no blocks.  Raises ValueError unless receivers >= 0, sources >= 1, every block
    has at least 0 bytes and the rate is positive.
    """
    _check_time(receivers, sources, block_bytes, bytes_per_second)
    if receivers == 0:
        return 0
    nodes = receivers + sources
    ports = min(sources, receivers)
    doublings = multicast_ticks_bound(nodes, sources, 1)
    shortfall = _shortfall(receivers, sources)
    bound_ns = 0
    cover_bytes_times_ports = 0
    for count, smallest, total in _largest_blocks(block_bytes):
        ticks = multicast_ticks_bound(nodes, sources, count)
        cover_bytes_times_ports = max(total, _ceil_div(count, ports) * smallest * ports, cover_bytes_times_ports)
        last_block = cover_bytes_times_ports + (doublings - 1) * smallest * ports
        bound_ns = max(
            bound_ns,
            _ns(receivers * total + shortfall * smallest, receivers, bytes_per_second),
            _ns(ticks * smallest, 1, bytes_per_second),
            _ns(last_block, ports, bytes_per_second),
        )
    return bound_ns


def first_cover_time_bound_ns(receivers: int, sources: int, block_bytes: Sequence[int], bytes_per_second: int) -> int:
    """Least time, in nanoseconds rounded down, after which the receivers together hold every block.

    The first copy of each block leaves a source and enters a receiver (`first_cover_ticks_bound`), so these copies
    pass through m = min(sources, receivers) ports.  Hence at least sum(bytes) / m; and of the k largest blocks one
    port carries ceil(k / m) or more, each at least as large as the k-th largest.  k = 1 is the largest block alone.
    0 when there are no receivers or no blocks.  Raises ValueError as `multicast_time_bound_ns` does.
    """
    _check_time(receivers, sources, block_bytes, bytes_per_second)
    if receivers == 0:
        return 0
    ports = min(sources, receivers)
    return max(
        (
            max(_ns(total, ports, bytes_per_second), _ns(_ceil_div(count, ports) * smallest, 1, bytes_per_second))
            for count, smallest, total in _largest_blocks(block_bytes)
        ),
        default=0,
    )


def _shortfall(receivers: int, sources: int) -> int:
    """Sum over t >= 0 of max(0, receivers - sources 2^t)."""
    shortfall = 0
    senders = sources
    while senders < receivers:
        shortfall += receivers - senders
        senders *= 2
    return shortfall


def _largest_blocks(block_bytes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(k, size of the k-th largest block, sum of the k largest) for the last k of each run of equal sizes.

    Inside a run all three bounds only grow with k, so its last member speaks for it.
    """
    sizes = sorted(block_bytes, reverse=True)
    total = 0
    for index, size in enumerate(sizes):
        total += size
        if index + 1 == len(sizes) or sizes[index + 1] != size:
            yield index + 1, size, total


def _ns(bytes_times_ports: int, ports: int, bytes_per_second: int) -> int:
    """Time for `bytes_times_ports` / `ports` bytes through one port, rounded down."""
    return bytes_times_ports * _NS_PER_SECOND // (ports * bytes_per_second)


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _receivers(nodes: int, sources: int, blocks: int) -> int:
    if not 1 <= sources <= nodes:
        raise ValueError(f"multicast to {nodes} nodes from {sources} sources: 1 <= sources <= nodes is needed")
    if blocks < 1:
        raise ValueError(f"multicast of {blocks} blocks: at least 1 block is needed")
    return nodes - sources


def _check_time(receivers: int, sources: int, block_bytes: Sequence[int], bytes_per_second: int) -> None:
    if receivers < 0 or sources < 1:
        raise ValueError(
            f"multicast from {sources} sources to {receivers} receivers: at least 1 source and 0 receivers are needed"
        )
    if bytes_per_second < 1:
        raise ValueError(f"port rate of {bytes_per_second} bytes per second: a positive rate is needed")
    if min(block_bytes, default=0) < 0:
        raise ValueError(f"block of {min(block_bytes)} bytes: a size of 0 or more is needed")
