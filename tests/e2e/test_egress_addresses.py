"""Where a name leads, and that nothing but a name leads anywhere: addresses of every kind, tried
from real cages.

The daemon runs in a network of its own with a small internet behind it (:mod:`tests.e2e.internet`),
in which the metadata service, a host inside and a public site all answer.  The control of every
attack is the same request, sent from that network by a process that is in no cage: there it
succeeds.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from akiosd.values.policy import Network
from tests.e2e.caged import SOURCE, Caged, caged, question
from tests.e2e.daemon import Daemon
from tests.e2e.internet import (
    HOST,
    METADATA,
    METADATA_6,
    OTHER_PUBLIC,
    PRIVATE,
    PUBLIC,
    PUBLIC_6,
    Internet,
)
from tests.e2e.upstreams import Upstream, answer

SITES = (
    "site.example", "inside.example", "metadata.example", "six.example", "host.example", "mapped.example",
    "many.example", "turning.example", "turned.example", "gone.example",
)  # fmt: skip
NETWORK = Network(allowed_domains=SITES, requests_per_minute=0)
HOSTS = f"gateway:\n  hosts: {{mapped.example: {PRIVATE}}}\n"

Services = dict[str, Upstream]


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with Internet() as running:
        running.resolver["site.example"] = PUBLIC
        running.resolver["inside.example"] = PRIVATE
        running.resolver["metadata.example"] = METADATA
        running.resolver["six.example"] = METADATA_6
        running.resolver["host.example"] = HOST
        running.resolver["metadata.google.internal"] = METADATA
        running.resolver["169-254-169-254.nip.example"] = METADATA
        yield running


@pytest.fixture(scope="module")
def services(net: Internet) -> Iterator[Services]:
    """What answers on port 80 of each address, and says its address."""
    with contextlib.ExitStack() as stack:
        found = {}
        for address in (PUBLIC, OTHER_PUBLIC, PRIVATE, METADATA, PUBLIC_6, METADATA_6, HOST):
            said = answer(200, f"I am {address}".encode())
            up = net.upstream(
                address, 80, on_host=address == HOST, handler=lambda seen, said=said: said
            )
            found[address] = stack.enter_context(up)
        yield found


@pytest.fixture(scope="module")
def there(net: Internet, services: Services) -> Iterator[Daemon]:
    daemon = net.daemon(HOSTS)
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def agent(there: Daemon) -> Iterator[Caged]:
    with caged(there, NETWORK) as one:
        yield one


def outside(net: Internet, expression: str) -> object:
    """The same words of the same program, in no cage."""
    done = net.run("/usr/bin/python3", "-c", SOURCE.read_text(), input=expression + "\n")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[1])


def connections(services: Services) -> dict[str, int]:
    return {address: service.connections for address, service in services.items()}


# ---- no name -------------------------------------------------------------------------------------

SPELLINGS = [
    METADATA, "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "0xa9.0xfe.0xa9.0xfe", "169.16689662", "169.254.43518",
    "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", METADATA_6, PUBLIC, PRIVATE, PUBLIC_6, HOST,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", SPELLINGS)
def test_an_address_leads_nowhere(
    net: Internet, agent: Caged, services: Services, address: str, kind: str
) -> None:
    """As the C library reads it: the kernel has no route, and says so at once."""
    expression = f"connect({address!r}, 80, 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', {kind!r})"
    if address != HOST or kind == "udp":
        said = outside(net, expression)
        assert isinstance(said, list) and said[0] == "connected", "the control"
        assert kind == "udp" or said[1].startswith("HTTP/1.1 200"), "the control"
    before = connections(services)
    assert agent.do(expression) in ("ENETUNREACH", "EHOSTUNREACH"), "at once, and not a byte of it"
    assert connections(services) == before


def test_quic_leads_nowhere(agent: Caged) -> None:
    """An initial packet, as long as one must be, to port 443: of a name's address and of others."""
    packet = "\\xc0\\x00\\x00\\x00\\x01\\x08" + "q" * 1200
    assert agent.do(f"connect({PUBLIC!r}, 443, '{packet}', 'udp')") == "ENETUNREACH"
    address = agent.do("look('site.example')")[0]
    program = (
        f"(lambda s: (s.connect(({address!r}, 443)), s.send(b'{packet}'), time.sleep(0.1), s.getsockopt("
        "socket.SOL_SOCKET, socket.SO_ERROR))[-1])(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))"
    )
    assert agent.do(program) == 111, "nobody listens there: the agent is told, and goes on with TCP"


@pytest.mark.parametrize(
    "host", [*SPELLINGS[:8], "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "localhost"]
)
def test_an_address_as_a_name_is_none(
    there: Daemon, agent: Caged, services: Services, host: str
) -> None:
    """Asked of the resolver, as Host of a connection that does lead somewhere, and by hand."""
    before = connections(services)
    if host != "localhost":
        assert bytes.fromhex(agent.do(f"ask({question(host)!r})"))[3] & 15 == 3, "NXDOMAIN"
    said = agent.do(f"talk('site.example', 'GET / HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n')")
    assert said[0].startswith("HTTP/1.1 421 "), said
    done = there.ctl("http", "--cage", agent.cage, "GET", f"http://{host}/latest/meta-data/")
    rule = "not an http or https URL" if host.startswith(":") else "network.allowed_domains: "
    assert done.returncode == 22 and rule in done.stderr, done.stderr
    assert connections(services) == before


# ---- names that lead inside ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("inside.example", PRIVATE),
        ("metadata.example", METADATA),
        ("six.example", METADATA_6),
        ("host.example", HOST),
    ],
)
def test_an_allowed_name_that_leads_inside(
    net: Internet, there: Daemon, services: Services, name: str, address: str
) -> None:
    said = outside(net, f"get('http://{name}/')")
    assert said == [200, f"I am {address}"], "the control"
    before = connections(services)
    with caged(there, NETWORK) as agent:
        assert agent.do("get('http://site.example/')") == [200, f"I am {PUBLIC}"], "the control"
        status, body = agent.do(f"get('http://{name}/')")
        error = json.loads(body)
        assert (status, error["rule"], error["host"]) == (403, "upstream", name)
        where = f"gateway: {{hosts: {{{name}: ADDRESS}}}} in {there.config}"
        assert error["hint"].startswith(where)
        agent.end()
        assert agent.denials() == {("http", "upstream", name): 1}
    assert connections(services)[address] == before[address]


def test_names_that_everybody_knows_lead_nowhere(
    agent: Caged, net: Internet, services: Services
) -> None:
    before = connections(services)
    for name in ("metadata.google.internal", "169-254-169-254.nip.example", "metadata"):
        assert agent.do(f"look({name!r})") == -2
    assert outside(net, "get('http://metadata.google.internal/')") == [200, f"I am {METADATA}"], (
        "the control"
    )
    assert connections(services)[METADATA] == before[METADATA] + 1


def test_the_administrators_word_leads_inside(agent: Caged) -> None:
    assert agent.do("get('http://mapped.example/')") == [200, f"I am {PRIVATE}"]


def test_of_many_addresses_only_public_ones_are_dialled(
    net: Internet, there: Daemon, services: Services
) -> None:
    net.resolver.names["many.example"] = [[METADATA, PRIVATE, METADATA_6, HOST, OTHER_PUBLIC]]
    before = connections(services)
    with caged(there, NETWORK) as agent:
        assert agent.do("get('http://many.example/')") == [200, f"I am {OTHER_PUBLIC}"]
    after = connections(services)
    assert {address for address in after if after[address] > before[address]} == {OTHER_PUBLIC}


def test_a_name_that_turns_between_check_and_dial(
    net: Internet, there: Daemon, services: Services
) -> None:
    """Its time to live is 0 and every answer another: what was checked is what is dialled, and it
    is asked once.
    """
    before, asked = connections(services), len(net.resolver.asked)
    net.resolver["turning.example"] = [PUBLIC, METADATA, METADATA, METADATA]
    with caged(there, NETWORK) as agent:
        closing = "get('http://turning.example/', headers={'Connection': 'close'})"
        assert agent.do(closing) == [200, f"I am {PUBLIC}"]
        assert sum(name == "turning.example" for name in net.resolver.asked[asked:]) == 2, (
            "A and AAAA, once each"
        )
        # The pool may keep its connection, to the address that was checked; a new one is checked
        # again.
        services[PUBLIC].hang_up()
        status, body = agent.do(closing)
        assert (status, json.loads(body)["rule"]) == (403, "upstream")
    after = connections(services)
    assert after[METADATA] == before[METADATA]
    assert after[PUBLIC] == before[PUBLIC] + 1


# ---- what the host's resolver hears --------------------------------------------------------------


def test_the_hosts_resolver_hears_of_nothing_but_allowed_names(
    net: Internet, there: Daemon
) -> None:
    """Names carry data out to whoever answers for them: long and random labels, every type, by
    datagram and stream.
    """
    net.resolver["gone.example"] = PUBLIC
    types = {
        "A": 1,
        "NS": 2,
        "CNAME": 5,
        "NULL": 10,
        "MX": 15,
        "TXT": 16,
        "AAAA": 28,
        "SRV": 33,
        "SVCB": 64,
        "HTTPS": 65,
        "ANY": 255,
        "AXFR": 252,
        "odd": 65280,
    }
    secret = "deadbeefcafe"
    names = [
        secret + ".evil.example",
        f"{secret * 5}.{secret * 5}.{secret * 5}.evil.example",
        secret + ".site.example",
    ]
    before = len(net.resolver.asked)
    with caged(there, NETWORK) as agent:
        codes = set()
        for number, name in enumerate(names):
            for kind in types.values():
                for stream in (False, True):
                    found = bytes.fromhex(agent.do(f"ask({question(name, kind)!r}, {stream})"))
                    codes.add((number, found[3] & 15 if found else -1))
        assert codes == {(number, 3) for number in range(len(names))}, "NXDOMAIN to every one"
        assert net.resolver.asked[before:] == [], "nothing left the host"
        assert agent.do("get('http://gone.example/')")[0] == 200
        agent.end()
        assert agent.denials() == {
            ("dns", "network.allowed_domains", name): len(types) * 2 for name in names
        }, "each in the log, however often"
    heard = set(net.resolver.asked[before:])
    assert heard == {"gone.example"}, (
        "an allowed name is asked for as it is: no search list, nothing else"
    )
