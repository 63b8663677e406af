"""Every figure of the report: which script prints it, how it is judged, and what skein wants to reach.

`ratio` figures are costs of one operation; their marks are multiples of skynet. `most` figures are sizes or latencies;
their marks are upper bounds in the figure's own unit (bytes, nanoseconds).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row of the table, one bar of the plot."""

    script: str
    name: str
    label: str
    kind: str = "ratio"  # or "most"; "time": only wall time counts, for what waits instead of working
    mark: float | None = None  # the first mark
    goal: float | None = None
    rate: bool = True  # whether wall time means something, beside CPU time
    against: str | None = None  # another figure of skynet to compare with; its own otherwise

    @property
    def rival(self):
        return self.against or self.name


FIGURES = [
    Figure("call", "ping_pong", "call and answer, one pair", mark=5, goal=10),
    Figure("call", "pairs_64", "call and answer, 64 pairs", mark=4, goal=10),
    Figure("send", "fan_in", "one-way sends, 8 to 1", mark=4, goal=10),
    Figure("ring", "ring_1000", "ring through 1000 services", mark=3, goal=8),
    Figure("tasks", "fork", "fork", mark=2, goal=4),
    Figure("tasks", "wakeup", "wakeup and wait", mark=2, goal=4),
    Figure("tasks", "handover", "wakeup and wait, two tasks in turns"),
    Figure("tasks", "yield", "yield", mark=5, goal=8),
    Figure("tasks", "call_self", "call to oneself"),
    Figure("seri", "pack_state", "pack nested game state", mark=1.5, goal=3),
    Figure("seri", "unpack_state", "unpack nested game state", mark=1.5, goal=2.2),
    Figure("seri", "pack_call", "pack five arguments"),
    Figure("seri", "unpack_call", "unpack five arguments"),
    Figure("crypt", "sha1_short", "SHA-1 of 64 B", mark=1),
    Figure("crypt", "sha1_long", "SHA-1 of 4 KiB", mark=1),
    Figure("crypt", "hmac_sha1_short", "HMAC-SHA1 of 64 B", mark=1),
    Figure("crypt", "hmac_sha1_long", "HMAC-SHA1 of 4 KiB", mark=1),
    Figure("crypt", "md5_short", "MD5 of 64 B"),
    Figure("crypt", "md5_long", "MD5 of 4 KiB"),
    Figure("crypt", "hex_encode_short", "hexadecimal of 64 B"),
    Figure("crypt", "hex_encode_long", "hexadecimal of 4 KiB"),
    Figure("crypt", "base64_encode_short", "base64 of 64 B", mark=1),
    Figure("crypt", "base64_encode_long", "base64 of 4 KiB", mark=1),
    Figure("crypt", "base64_decode_short", "64 B back from base64", mark=1),
    Figure("crypt", "base64_decode_long", "4 KiB back from base64", mark=1),
    Figure("crypt", "des_encode_short", "DES of 64 B", mark=2),
    Figure("crypt", "des_encode_long", "DES of 4 KiB", mark=2),
    Figure("crypt", "des_decode_short", "64 B back from DES", mark=2),
    Figure("crypt", "des_decode_long", "4 KiB back from DES", mark=2),
    Figure("crypt", "dh_secret", "64-bit key exchange"),
    Figure("documents", "bson_encode_record", "encode a player's record", mark=1.5),
    Figure("documents", "bson_decode_record", "decode a player's record", mark=1.5),
    Figure("documents", "bson_encode_small", "encode a small document", mark=1.5),
    Figure("documents", "bson_decode_small", "decode a small document", mark=1.5),
    Figure("documents", "bson_order", "encode a command with documents", mark=1.5),
    Figure("strings", "string_64k", "64 KiB string as an argument", mark=4, goal=8),
    Figure("strings", "string_64k_raw", "64 KiB string as a raw message", mark=4, goal=8),
    Figure("strings", "string_1m", "1 MiB string as an argument", mark=5, goal=8),
    Figure("strings", "string_1m_raw", "1 MiB string as a raw message", mark=5, goal=8),
    Figure("forward", "forward_64", "a block of 64 B handed on"),
    Figure("forward", "forward_64k", "a block of 64 KiB handed on"),
    Figure("forward", "forward_1m", "a block of 1 MiB handed on"),
    Figure("forward", "forward_64k", "… beside skynet's 64 KiB string", goal=50, against="string_64k"),
    Figure("multicast", "multicast_64k", "64 KiB to 100 services, a delivery", mark=10, goal=50),
    *[
        Figure("cluster", f"cluster_{what}_{size}", f"cluster: {label}, {name}", mark=1.5)
        for what, label in [("request", "a request packed"), ("unpack_request", "… taken apart"),
                            ("response", "a response packed"), ("unpack_response", "… taken apart")]
        for size, name in [("small", "64 B"), ("frame", "30 KB"), ("parts", "256 KiB")]
    ],
    Figure("nodes", "node_call", "a call to another node, 64 B", mark=2, goal=3),
    Figure("nodes", "node_calls_64", "… 64 of them at a time", mark=2, goal=3),
    Figure("nodes", "node_call_32k", "… of 32 KB"),
    Figure("nodes", "node_call_256k", "… of 256 KiB and back", "time", mark=10, goal=20),
    Figure("nodes", "node_calls_256k_8", "… 8 of them at a time"),
    Figure("nodes", "node_send", "a message to another node"),
    *[
        Figure("records", f"sproto_{what}_{value}", f"sproto: {what}, {label}", mark=1.5)
        for what in ["encode", "decode", "pack", "unpack"]
        for value, label in [("player", "a player"), ("move", "five fields"), ("scores", "500 integers")]
    ],
    *[
        Figure("grammars", f"lpeg_{name}", f"lpeg: {label}", mark=1)
        for name, label in [("json_check", "JSON of 4 KB checked"), ("json_read", "… and read"),
                            ("search", "a search in 2 KB"), ("words", "words of 2 KB"), ("split", "a list split"),
                            ("replace", "words replaced"), ("calculate", "a sum calculated"),
                            ("short", "11 bytes taken apart"), ("build", "a grammar built")]
    ],
    Figure("socket", "socket_echo_1", "a line of 64 B sent back, 1 connection", mark=1.5, goal=3, rate=False),
    Figure("socket", "socket_echo_64", "a line of 64 B sent back, 64 connections", mark=1.5, goal=3, rate=False),
    Figure("socket", "socket_blocks", "64 KiB sent back, 8 connections", mark=2, rate=False),
    Figure("socket", "socket_broadcast", "1 KiB to 200 connections, a delivery", mark=3, goal=6, rate=False),
    Figure("sharetable", "share_update", "25 holders go over to a new 17 MB table, each", mark=20, goal=80),
    Figure("sharetable", "share_update_20k", "… with 20,000 tables of their own", mark=20, goal=80),
    Figure("sharetable", "share_publish", "a new version of a 17 MB table"),
    Figure("sharetable", "share_load_alone", "… what loading it takes, beside that"),
    Figure("sharetable", "share_read", "reads of a shared table"),
    Figure("sharetable", "share_read_own", "… of an own table"),
    Figure("launch", "launch", "a service launched", mark=4, goal=8),
    Figure("launch", "idle_service", "memory of an idle service", "most", mark=35 << 10, goal=24 << 10),
    Figure("timers", "timer", "a timer set, due and run", mark=3, goal=6, rate=False),
    Figure("pending", "pending_timer", "memory of a pending timer", "most", mark=0.7 * 1024),
    Figure("console", "console_list", "console: list, 10,000 services", "most", mark=100e6),
    Figure("console", "console_stat", "console: stat, 10,000 services", "most", mark=100e6),
    Figure("console", "console_mem", "console: mem, 10,000 services", "most", mark=100e6),
    Figure("latency", "idle_beside_busy", "message to an idle service, sender busy", "most", mark=6e5, goal=3e5),
    Figure("latency", "idle_call", "call to an idle service, node quiet", "most", mark=35e3, goal=20e3),
    Figure("quiet", "quiet_switches", "context switches of a quiet node", "most", mark=10),
    Figure("memory", "drained", "memory kept of 1,000,000 messages, drained", "most", mark=64 << 20),
    Figure("memory", "killed_left", "memory kept of 10,000 services, killed", "most"),
    Figure("memory", "killed_growth", "… its growth over 4 more rounds of them", "most", mark=10),
    Figure("clients", "gate_64", "a request through a gate, 64 clients", mark=2, goal=3),
    Figure("web", "http_hello", "an HTTP request, wrk with 64 connections", mark=3),
    Figure("websockets", "websocket_echo", "a WebSocket message and its echo", mark=2),
    Figure("redis", "redis_pipeline", "a GET of Redis, 100 in a pipeline", mark=1.5),
    Figure("redis", "redis_tasks", "a GET of Redis, 64 tasks over one connection", mark=1.5),
    Figure("redis", "redis_large", "a GET of 64 KiB", rate=False),
    Figure("redis", "redis_range", "an element of an array of 1000", rate=False),
    Figure("game", "game", "a request in a game of 400 agents", mark=3, goal=6),
]

SCRIPTS = list(dict.fromkeys(figure.script for figure in FIGURES))


def select(words):
    """The figures that `words` name, by script or by name."""
    if not words:
        return FIGURES
    for word in words:
        if not any(word in (figure.script, figure.name) for figure in FIGURES):
            names = " ".join(figure.name for figure in FIGURES)
            raise SystemExit(f"no script and no figure is called {word}; scripts: {' '.join(SCRIPTS)}; figures: {names}")
    return [figure for figure in FIGURES if figure.script in words or figure.name in words]
