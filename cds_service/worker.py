"""A gunicorn worker that says no in time: when it is too busy, when it goes away, and to what is no HTTP."""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from gunicorn.workers.gthread import ThreadWorker

from cds_service.health import Readiness
from cds_service.protocol.errors import Busy, operation_outcome
from cds_service.raw_http import is_probe, is_whole, raw_refusal, status_of
from cds_service.trust.turns import Turns

_READ_AT_ONCE = 128 * 1024
_PATIENCE = 5.0  # seconds for the first bytes of a new connection, and for the client to hang up as well
# The main thread accepts and refuses. Beside a thread that computes it waits this long, in seconds, for the
# interpreter, at each of several steps a connection; with the usual 5 ms nobody is refused in time.
_SWITCH_INTERVAL = 0.0005
# All workers wake for a new connection, and a kept one stays where it was taken. Each reaches for it after this many
# seconds for every connection it has, so that the one with the fewest gets it.
_RELUCTANCE = 0.0001
_MOST_RELUCTANCE = 0.001


class Worker(ThreadWorker):  # type: ignore[misc]
    """Keeps the queue short, and whoever sends nothing out of it.

    Once the queue is full (see Turns), new requests are refused at once and unread; health probes then have a thread of
    their own. After SIGTERM the worker is not ready but answers for another `drain_ms`, and then finishes what it has.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        """Called by gunicorn, with the application it serves."""
        super().__init__(*arguments, **more)
        self._settings = self.app.settings
        self._probes = ThreadPoolExecutor(1, "probes")
        self._ends_at: float | None = None
        self._at_work = 0  # requests that were given to the threads

    def run(self) -> None:
        """Serve to the end."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        self._turns: Turns = self.wsgi.extensions["turns"]
        self._shed = self.wsgi.extensions["metrics"].shed
        busy, origins = Busy().operation_outcome(), self._settings.cors_origins
        self._busy = {last: raw_refusal(Busy.status, busy, origins, is_last=last) for last in (True, False)}
        super().run()

    @property
    def is_draining(self) -> bool:
        """Whether the end has been announced."""
        return self._ends_at is not None

    def accept(self, listener: Any) -> None:
        """Take a new connection, unless a worker that has fewer was there first."""
        if self.cfg.workers > 1:
            time.sleep(min(self.nr_conns * _RELUCTANCE, _MOST_RELUCTANCE))
        super().accept(listener)

    # The queue. All but `_answer_in_time` and `_refuse` runs in the main thread, which must never wait for a client.

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection to a thread as soon as there is something to read on it."""
        if not (conn.initialized or conn.data_ready):
            self._watch(conn, partial(self.on_pending_socket_readable, conn))
            return
        self._turns.join(conn)
        self._at_work += 1
        self._submit(self.tpool, self._answer_in_time, conn, self._finish_work)

    def on_pending_socket_readable(self, conn: Any, client: Any) -> None:
        """The first bytes of a new connection have come."""
        if not self._is_answered_apart(conn, self.pending_conns):
            super().on_pending_socket_readable(conn, client)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """The next request on a kept connection has come."""
        if not self._is_answered_apart(conn, self.keepalived_conns):
            super().on_client_socket_readable(conn, client)

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """Keep the connection for the next request, or hang up."""
        if fs.cancelled() or not fs.result():
            self._hang_up(conn)
        elif not conn.initialized:  # it was refused unread
            conn.data_ready = False
            self.enqueue_req(conn)
        else:
            super().finish_request(conn, fs)

    def _finish_work(self, conn: Any, done: Future[Any]) -> None:
        self._at_work -= 1
        self.finish_request(conn, done)

    def _is_answered_apart(self, conn: Any, among: deque[Any]) -> bool:
        """Refuse what is too much; while the threads are busy, a probe is answered by a thread of its own."""
        if self._turns.is_full():
            self._answer_at_once(conn, among)
            return True
        if self._at_work < self.cfg.threads or not is_probe(_peeked(conn.sock)):
            return False
        self._take_from(conn, among)
        self._submit(self._probes, self._answer_read, conn, self.finish_request)
        return True

    def _answer_at_once(self, conn: Any, among: deque[Any]) -> None:
        """With as few system calls as can be: after each the main thread waits for the interpreter."""
        sent = _received(conn.sock)
        if is_probe(sent):
            self._take_from(conn, among)
            self._submit(self._probes, partial(self._answer_read, sent=sent), conn, self.finish_request)
        elif self._refuse(conn, sent):
            among.remove(conn)
            conn.timeout = time.monotonic() + (_PATIENCE if among is self.pending_conns else self.cfg.keepalive)
            among.append(conn)
        else:
            self._take_from(conn, among)
            self._hang_up(conn)

    def _take_from(self, conn: Any, among: deque[Any]) -> None:
        among.remove(conn)
        self.poller.unregister(conn.sock)

    def _answer_read(self, conn: Any, sent: bytes = b"") -> bool:
        """Answer a request of which this much was read already; in a thread."""
        conn.sock.setblocking(True)
        conn.init()
        conn.parser.unreader.unread(sent)
        return bool(self.handle(conn))

    def _submit(self, pool: ThreadPoolExecutor, work: Any, conn: Any, finish: Any) -> None:
        done = pool.submit(work, conn)
        done.add_done_callback(lambda done: self.method_queue.defer(finish, conn, done))

    def _watch(self, conn: Any, callback: Any) -> None:
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + _PATIENCE
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, callback)

    def _hang_up(self, conn: Any) -> None:
        """Close once the client does: what it still sends would otherwise cost it the answer (RFC 9112, 9.6)."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._watch(conn, partial(self._read_to_the_end, conn))
        except OSError:
            self._forget(conn)

    def _read_to_the_end(self, conn: Any, client: Any) -> None:
        if not _received(client):
            self.poller.unregister(client)
            self.pending_conns.remove(conn)
            self._forget(conn)

    def _forget(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def _answer_in_time(self, conn: Any) -> bool:
        """Answer the request, unless it has waited too long; in a thread. Whether the connection can be kept."""
        try:
            with self._turns.served(conn):
                return bool(self.handle(conn))
        except Busy:
            conn.sock.setblocking(False)
            return self._refuse(conn, _received(conn.sock))

    def _refuse(self, conn: Any, sent: bytes) -> bool:
        """Answer 503 at once to what was sent and is not read any further. Whether the connection can be kept."""
        self._shed.inc()
        is_kept = is_whole(sent)
        try:
            conn.sock.send(self._busy[not is_kept])
        except OSError:
            return False
        return is_kept

    # The end.

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: not ready from now on, but still there for those who do not know it yet."""
        if not self.is_draining:
            readiness: Readiness = self.wsgi.extensions["readiness"]
            readiness.is_draining = True
            self._ends_at = time.monotonic() + self._settings.drain_ms / 1000
            self.method_queue.defer(lambda: None)  # wakes the main loop

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One round of the main loop; the one after the drain time is the last."""
        if self._ends_at is not None:
            timeout = min(timeout, max(self._ends_at - time.monotonic(), 0))
        super().wait_for_and_dispatch_events(timeout)
        if self._ends_at is not None and time.monotonic() >= self._ends_at:
            self.alive = False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept or not; at the end, who has connected already is still taken in."""
        super().set_accept_enabled(enabled)
        if self.is_draining and not enabled:
            for listener in self.sockets:
                self._accept_all(listener)
                listener.close()

    def _accept_all(self, listener: Any) -> None:
        before = -1
        while before != self.nr_conns:
            before = self.nr_conns
            self.accept(listener)

    # What is no HTTP.

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer a request that never reached the application, in our words: gunicorn would quote it."""
        status = status_of(exc)
        structlog.get_logger().warning("refused", status=int(status), error=type(exc).__name__)
        issue_type = "structure" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "exception"
        outcome = operation_outcome(issue_type, f"{status.phrase}.", where="HTTP request")
        with suppress(OSError):  # the client is gone
            client.sendall(raw_refusal(status, outcome, self._settings.cors_origins, is_last=True))


def close_when_draining(worker: Worker, request: Any) -> None:
    """Whoever is answered by a worker that goes away is told to connect anew (`pre_request` of gunicorn)."""
    if worker.is_draining:
        request.force_close()


def _received(sock: socket.socket) -> bytes:
    """What is there to be read; nothing when the client is gone."""
    try:
        return sock.recv(_READ_AT_ONCE)
    except OSError:
        return b""


def _peeked(sock: socket.socket) -> bytes:
    try:
        return sock.recv(16, socket.MSG_PEEK)
    except OSError:
        return b""
