"""ExaBGP 4.2 as a sender of EVPN routes that its configuration language lacks.

Each route in the configuration is an IPv4 prefix that carries raw attributes (MP_REACH_NLRI
among them). ExaBGP sends a prefix only when IPv4 unicast is negotiated, and then with the
prefix in the message. Here the prefix is left out and only its attributes travel, except
for prefixes in 198.18.0.0/15, which go out as they are: a family nobody negotiated.
"""
import sys

from exabgp.application.main import main
from exabgp.bgp.message.update import Update
from exabgp.protocol.family import AFI, SAFI


def messages(self, negotiated, include_withdraw=True):
    for nlri in self.nlris:
        if (nlri.afi, nlri.safi) != (AFI.ipv4, SAFI.unicast):
            continue
        packed = nlri.pack(negotiated)
        announced = packed if packed[1:2] == b'\xc6' else b''
        yield self._message(Update.prefix(b'') + Update.prefix(self.attributes.pack(negotiated, True)) + announced)


Update.messages = messages
sys.exit(main())
