"""Queue pairs: the two ends of a reliable connection on which one end writes into the other's memory."""

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any

import attrs

from executor.errors import DeviceFailed, Failure
from executor.transport.rdma.contact import QUEUE_PAIR_MAX, Contact
from executor.transport.rdma.neighbours import is_silent
from executor.transport.rdma.opened import DESCRIPTORS, Opened, ready
from executor.transport.rdma.ports import address_in
from executor.transport.rdma.region import Region

POLL_MAX = 64  # completions taken from a queue at a time
HOP_LIMIT = 64
# A receiver without a receive is asked again after 10 ms (code 20 of the InfiniBand specification), so often; 7 would
# mean for ever.
RECEIVER_PAUSE_CODE = 20
RECEIVER_RETRIES = 6

_FAILURE_OF_STATUS = {
    "IBV_WC_LOC_LEN_ERR": Failure.LOCAL,
    "IBV_WC_LOC_QP_OP_ERR": Failure.LOCAL,
    "IBV_WC_LOC_PROT_ERR": Failure.LOCAL,
    "IBV_WC_LOC_ACCESS_ERR": Failure.LOCAL,
    "IBV_WC_WR_FLUSH_ERR": Failure.FLUSHED,
    "IBV_WC_REM_INV_REQ_ERR": Failure.ACCESS_REFUSED,
    "IBV_WC_REM_ACCESS_ERR": Failure.ACCESS_REFUSED,
    "IBV_WC_REM_OP_ERR": Failure.ACCESS_REFUSED,
    "IBV_WC_RETRY_EXC_ERR": Failure.PEER_SILENT,
    "IBV_WC_RESP_TIMEOUT_ERR": Failure.PEER_SILENT,
    "IBV_WC_RNR_RETRY_EXC_ERR": Failure.NOT_READY,
}


@attrs.frozen(kw_only=True)
class Completion:
    """The end of one write or one receive."""

    id: int  # as it was posted
    immediate: int | None  # what the peer's write brought to this receive
    failure: Failure | None  # None: well


def failure_of(status: str) -> Failure:
    """Say what a status of libibverbs other than success, such as IBV_WC_RETRY_EXC_ERR, means."""
    return _FAILURE_OF_STATUS.get(status, Failure.DEVICE)


class QueuePair:
    """One end of a reliable connection.  Made by `Device.queue_pair`.  Any thread may call anything."""

    def __init__(self, opened: Opened, *, writes_max: int, receives_max: int, on_close: Callable[[], None]) -> None:
        verbs = opened.verbs
        self._opened = opened
        self._on_close = on_close
        self._lock = threading.Lock()  # from taking an event to acknowledging it, and while a work request is filled
        self._is_open = True
        self._writes_max = writes_max
        self._writes = 0  # under way
        self._receives_max = receives_max
        self._receives = 0
        where = f"{opened.port.device}: no queue pair"
        with DESCRIPTORS, opened.refusing(where, Failure.LOCAL), contextlib.ExitStack() as parts:
            self._channel = verbs.cq.CompChannel(opened.context)
            parts.callback(self._channel.close)
            self._queue = verbs.cq.CQ(opened.context, writes_max + receives_max, channel=self._channel)
            parts.callback(self._queue.close)
            self._pair = _initial_pair(opened, self._queue, writes_max, receives_max)
            parts.callback(self._pair.close)
            # One of each is filled again and again: none is freed by itself, and a second `close` would free it twice.
            self._piece = verbs.wr.SGE(0, 0, 0)
            parts.callback(self._piece.close)
            self._receive = verbs.wr.RecvWR(num_sge=0)
            parts.callback(self._receive.close)
            self._write = verbs.wr.SendWR(num_sge=1, sg=[self._piece])
            self._write.close()  # frees its copy of the piece only; from here on it points to the piece itself
            self._write.sg_list = self._piece
            self._queue.req_notify()
            self._parts = parts.pop_all()
        self.fd: int = self._channel.fd
        os.set_blocking(self.fd, False)
        self.contact = Contact(
            queue_pair=self._pair.qp_num,
            psn=secrets.randbelow(QUEUE_PAIR_MAX + 1),
            gid=opened.port.gid,
            mtu_bytes=opened.port.mtu_bytes,
            lid=opened.lid,
        )

    @property
    def room(self) -> int:
        """How many more writes it takes before a completion is taken."""
        return self._writes_max - self._writes

    def connect(self, peer: Contact, *, retries: int = 6, timeout_exponent: int = 14) -> None:
        """Aim it at the peer, and let the peer write to it.

        A peer is silent after (retries + 1) times 4.096 us * 2^timeout_exponent: about 0.5 s; 7 retries would be for
        ever on Soft-RoCE.  Waits for the peer's address to be found, up to a second.  Raises DeviceFailed.
        """
        assert 0 <= retries < 7
        verbs, port = self._opened.verbs, self._opened.port
        where = f"{port.device} cannot be connected to {peer.gid}"
        if port.interface and port.address is not None:
            source = address_in(port.gid)
            if is_silent(address_in(peer.gid), source=source, interface=port.interface):
                raise DeviceFailed(Failure.PEER_SILENT, f"{where}: nobody answers to this address.")
        route = verbs.addr.GlobalRoute(dgid=verbs.addr.GID(peer.gid), sgid_index=port.gid_index, hop_limit=HOP_LIMIT)
        wanted = verbs.qp.QPAttr(port_num=port.number)
        wanted.ah_attr = verbs.addr.AHAttr(gr=route, is_global=1, port_num=port.number, dlid=peer.lid)
        wanted.dest_qp_num, wanted.rq_psn, wanted.sq_psn = peer.queue_pair, peer.psn, self.contact.psn
        wanted.path_mtu = (min(peer.mtu_bytes, port.mtu_bytes) // 128).bit_length() - 1  # 1 for 256 to 5 for 4096
        wanted.min_rnr_timer, wanted.rnr_retry = RECEIVER_PAUSE_CODE, RECEIVER_RETRIES
        wanted.timeout, wanted.retry_cnt = timeout_exponent, retries
        with self._lock:
            self._check_open()
            with self._opened.refusing(where, Failure.LOCAL):
                self._pair.to_rts(wanted)

    def write(
        self,
        source: Region,
        offset_bytes: int,
        size_bytes: int,
        *,
        address: int,
        key: int,
        immediate: int | None,
        id: int,  # noqa: A002  the verbs call it so
    ) -> None:
        """Write a part of the source to the peer's memory; with an immediate, tell the peer so, who must expect it.

        Its completion says when the source may change and the peer's memory has it.  Raises DeviceFailed: also where
        there is no room.
        """
        assert 0 <= offset_bytes <= offset_bytes + size_bytes <= source.size_bytes
        operations = self._opened.verbs.libibverbs_enums.ibv_wr_opcode
        with self._lock:
            self._check_open()
            if not self.room:
                raise DeviceFailed(Failure.LOCAL, f"{self._where}: {self._writes_max} writes are under way already.")
            self._piece.addr = source.address + offset_bytes
            self._piece.length = size_bytes
            self._piece.lkey = source.local_key
            self._write.wr_id = id << 1
            if immediate is None:
                self._write.opcode = operations.IBV_WR_RDMA_WRITE
            else:
                self._write.opcode = operations.IBV_WR_RDMA_WRITE_WITH_IMM
                self._write.imm_data = socket.htonl(immediate)
            self._write.set_wr_rdma(key, address)
            with self._opened.refusing(f"{self._where} cannot write", Failure.LOCAL):
                self._pair.post_send(self._write)
            self._writes += 1

    def expect(self, id: int) -> None:  # noqa: A002  the verbs call it so
        """Post one receive, for one write with an immediate.  Raises DeviceFailed: also beyond `receives_max`."""
        with self._lock:
            self._check_open()
            if self._receives == self._receives_max:
                raise DeviceFailed(Failure.LOCAL, f"{self._where}: {self._receives} receives are posted already.")
            self._receive.wr_id = id << 1 | 1
            with self._opened.refusing(f"{self._where} cannot receive", Failure.LOCAL):
                self._pair.post_recv(self._receive)
            self._receives += 1

    def completions(self) -> list[Completion]:
        """Take all that has ended; `fd` becomes readable when more has.  Empty once it is closed.

        Raises DeviceFailed.
        """
        taken: list[Any] = []
        with self._lock:
            if not self._is_open:
                return []
            with self._opened.refusing(f"{self._where} cannot be asked what has ended", Failure.DEVICE):
                while ready(self.fd):
                    self._channel.get_cq_event(self._queue)
                    self._queue.ack_events(1)
                # Armed first, and polled after it: what ends in between is seen by the poll, or wakes the fd again.
                self._queue.req_notify()
                while len(batch := self._queue.poll(POLL_MAX)[1]) == POLL_MAX:
                    taken += batch
                taken += batch
            return [self._completion(work) for work in taken]

    def abort(self) -> None:
        """Let nothing more go or come: what is under way ends as FLUSHED, and the peer's writes fail."""
        verbs = self._opened.verbs
        with self._lock:
            if self._is_open:
                broken = verbs.qp.QPAttr(qp_state=verbs.libibverbs_enums.ibv_qp_state.IBV_QPS_ERR)
                with self._opened.refusing(f"{self._where} cannot be broken off", Failure.DEVICE):
                    self._pair.modify(broken, verbs.libibverbs_enums.ibv_qp_attr_mask.IBV_QP_STATE)

    def close(self) -> None:
        """End it: from here on no write of either side touches memory, and nothing completes.  May be called again."""
        with self._lock, DESCRIPTORS:
            self._is_open = False
            with self._opened.refusing(f"{self._where} cannot be closed", Failure.DEVICE):
                self._parts.close()
        self._on_close()

    @property
    def _where(self) -> str:
        return f"{self._opened.port.device}, queue pair {self.contact.queue_pair}"

    def _check_open(self) -> None:
        if not self._is_open:
            raise DeviceFailed(Failure.FLUSHED, f"{self._where} was closed here.")

    def _completion(self, work: Any) -> Completion:
        enums = self._opened.verbs.libibverbs_enums
        is_receive = work.wr_id & 1
        if is_receive:
            self._receives -= 1
        else:
            self._writes -= 1
        failure, immediate = None, None
        if work.status != enums.ibv_wc_status.IBV_WC_SUCCESS:
            failure = failure_of(enums.ibv_wc_status(work.status).name)
        elif is_receive and work.wc_flags & enums.ibv_wc_flags.IBV_WC_WITH_IMM:
            immediate = socket.ntohl(work.imm_data)
        return Completion(id=work.wr_id >> 1, immediate=immediate, failure=failure)


def _initial_pair(opened: Opened, queue: Any, writes_max: int, receives_max: int) -> Any:
    """Make a pyverbs.qp.QP in the state INIT."""
    verbs = opened.verbs
    sizes = verbs.qp.QPCap(max_send_wr=writes_max, max_recv_wr=receives_max, max_send_sge=1, max_recv_sge=1)
    kind = verbs.qp.QPInitAttr(
        qp_type=verbs.libibverbs_enums.ibv_qp_type.IBV_QPT_RC, scq=queue, rcq=queue, cap=sizes, sq_sig_all=1
    )
    first = verbs.qp.QPAttr(port_num=opened.port.number)
    first.qp_access_flags = verbs.libibverbs_enums.ibv_access_flags.IBV_ACCESS_REMOTE_WRITE
    return verbs.qp.QP(opened.protection_domain, kind, first)
