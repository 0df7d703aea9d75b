"""One table of what is never an external server, for the schema, the guards, the NetworkPolicy and a real tenant."""

from __future__ import annotations

ADDRESSES: tuple[tuple[str, str], ...] = (
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("::1", "loopback"),
    ("::ffff:127.0.0.1", "loopback"),
    ("64:ff9b::7f00:1", "loopback"),
    ("2002:7f00:1::1", "loopback"),
    ("169.254.169.254", "link-local"),
    ("::ffff:169.254.169.254", "link-local"),
    ("::ffff:a9fe:a9fe", "link-local"),
    ("64:ff9b::a9fe:a9fe", "link-local"),
    ("64:ff9b::169.254.169.254", "link-local"),
    ("2002:a9fe:a9fe::1", "link-local"),
    ("2002:a9fe:a9fe:1:2:3:4:5", "link-local"),
    ("fe80::1", "link-local"),
    ("febf::1", "link-local"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("ff02::1", "multicast"),
    ("::ffff:224.0.0.1", "multicast"),
    ("0.0.0.0", "unspecified"),
    ("::", "unspecified"),
    ("::ffff:0.0.0.0", "unspecified"),
    ("0.0.0.1", "an address of this host"),
    ("0.255.255.255", "an address of this host"),
    ("64:ff9b::1", "an address of this host"),
    ("255.255.255.255", "broadcast"),
    ("240.240.0.1", "an address reserved by the mesh"),
    ("240.241.0.0", "an address reserved by the mesh"),
    ("240.255.255.255", "an address reserved by the mesh"),
    ("64:ff9b::f0f1:101", "an address reserved by the mesh"),
    ("2001:2::1", "an address reserved by the mesh"),
    ("100.100.100.200", "a cloud's metadata service"),
    ("168.63.129.16", "a cloud's metadata service"),
    ("::ffff:168.63.129.16", "a cloud's metadata service"),
    ("64:ff9b::6464:64c8", "a cloud's metadata service"),
    ("2002:6464:64c8::", "a cloud's metadata service"),
    ("192.0.0.192", "a cloud's metadata service"),
    ("fd00:ec2::23", "a cloud's metadata service"),
    ("fd00:ec2::254", "a cloud's metadata service"),
    ("fd00:0ec2:0:0:0:0:0:0254", "a cloud's metadata service"),
    ("fd20:ce::254", "a cloud's metadata service"),
    ("::169.254.169.254", "an address that is translated to another one"),
    ("::a9fe:a9fe", "an address that is translated to another one"),
    ("::192.0.2.1", "an address that is translated to another one"),
    ("::ffff:0:169.254.169.254", "an address that is translated to another one"),
    ("64:ff9b:1::a9fe:a9fe", "an address that is translated to another one"),
    ("64:ff9b:1:a9fe:a9:fe00::", "an address that is translated to another one"),
    ("2001:0:a9fe:a9fe::1", "an address that is translated to another one"),
    ("2001:0:c000:201:0:0:5601:5601", "an address that is translated to another one"),
)
"""Addresses that no class can allow, and what they are called."""

ALLOWED_ADDRESSES = (
    "10.0.0.1",
    "192.0.2.1",
    "168.63.129.17",
    "240.0.0.1",
    "241.0.0.1",
    "1.0.0.0",
    "fd00::1",
    "fd00:ec2::253",
    "2001:db8::1",
    "2001:1::1",
    "2001:2:1::1",
    "64:ff9b::c000:201",
    "2002:c000:201::1",
)
"""What is beside them, and translated addresses of external servers: a class may allow these."""

RESERVED_NAMES = (
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "web-0.web.shop.svc",
    "x.svc.cluster",
    "a.b.svc.evil.com",
    "10-0-0-1.shop.pod",
    "cluster.local",
    "foo.cluster.local",
    "web.shop.svc.clusterset.local",
    "clusterset.local",
    "a.localhost",
    "localhost.localdomain",
    "foo.cluster.localdomain",
    "egress.internal",
    "x.egress.internal",
    "http-80.api.example.com.v1.victim.egress.internal",
    "google.internal",
    "metadata.google.internal",
    "foo.metadata.google.internal",
    "metadata.goog",
    "foo.metadata.goog",
    "instance-data.ec2.internal",
    "instance-data.eu-west-1.compute.internal",
)
"""Names that the schema refuses wherever a host may stand."""

RESERVED_WILDCARDS = (
    "*.default.svc",
    "*.cluster.local",
    "*.svc.cluster.local",
    "*.shop.pod",
    "*.a.localhost",
    "*.egress.internal",
    "*.victim.egress.internal",
    "*.google.internal",
    "*.metadata.goog",
    "*.ec2.internal",
)
"""Wildcards that cover some of them."""

MORE_RESERVED = (
    "metadata.azure.internal",
    "metadata.packet.net",
    "foo.metadata.packet.net",
    "metadata.platformequinix.com",
    "metadata.tencentyun.com",
    "api.metadata.cloud.ibm.com",
    "*.compute.internal",
    "*.azure.internal",
    "*.metadata.packet.net",
)
"""Names and wildcards that only planning refuses: the rules of a CRD have a budget."""

ODD_SPELLINGS = (
    *("0x7f.0x0.0x0.0x1", "127.1", "127.0.0.1", "0177.0.0.01", "2130706433", "0x7f000001", "a.0x1", "169.254.43518"),
    *("169.254.169.254", "::1", "[::1].com", "[::1]", "localhost", "metadata", "instance-data", "kubernetes"),
    *("API.example.com", "api.example.com.", "пример.com", "a..b.com", "-a.com", "a-.com", "a_b.com", "a.com\n"),
    *(" a.com", "a.com/x", "a.com:80", "https://a.com", "10.0.0.0/8", "*", "*.com", "*.local", "*.*.com", "a.*.com"),
    *("*-x.example.com", f"{'a' * 64}.com"),
)
"""What is no host at all, addresses in the forms of inet_aton among them."""
