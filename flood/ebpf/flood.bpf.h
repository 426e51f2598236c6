//go:build ignore

// Constants, types and maps of flood.bpf.c.

#pragma once

enum sizes {
	TTL = 64,
	MARK = 7, // DSCP of a copy: flood.Mark

	IPV4_SIZE = 20,
	IPV6_SIZE = 40,
	UDP_SIZE = 8,
	VXLAN_SIZE = 8,
	NEXT_FRAGMENT = 44, // IPv6 fragment header
	// What is read and written directly, with the headers of IPv6. A packet of IPv4 that
	// carries an Ethernet header is longer as well.
	HEAD = ETH_HLEN + IPV6_SIZE + UDP_SIZE,
	PARSED = HEAD + VXLAN_SIZE,

	SCRATCH = 512,	      // what bpf_csum_diff takes at once
	MOST = 65536,	      // networks
	PLACES = 1 << 20,     // prefixes of all sets
	HEARD = 16384,	      // senders remembered
	MAX_SAMPLE = 65500,   // with 28 bytes before it the most that the 16 bits of a perf record's size can say
	MAX_TAIL = 96,	      // what the longest frame has behind that, and a few bytes more
	BLOCK = 8,	      // entries of a list that are looked up at once
};

// The reasons of flood/reason.go, in their order; a test compares them.
enum reason {
	REASON_KEPT,
	REASON_NOT_IP,
	REASON_TRUNCATED,
	REASON_BAD_IP_HEADER,
	REASON_BAD_IP_CHECKSUM,
	REASON_BAD_TTL,
	REASON_FRAGMENT,
	REASON_NOT_UDP,
	REASON_BAD_UDP_LENGTH,
	REASON_BAD_UDP_CHECKSUM,
	REASON_NO_UDP_CHECKSUM,
	REASON_WRONG_PORT,
	REASON_NO_VXLAN,
	REASON_BAD_FLAGS,
	REASON_SUPER_FRAME,
	REASON_UNKNOWN_VNI,
	REASON_NOT_LISTENING,
	REASON_BAD_SOURCE,
	REASON_OWN_SOURCE,
	REASON_SOURCE_OUTSIDE,
	REASON_SOURCE_INSIDE,
	REASON_RELAYED,
	REASON_COPIED_BY_SENDER,
	REASON_NOT_ELECTED,
	REASON_NOBODY,
	REASON_LIMITED,
	REASON_OVERRUN,
	REASON_TOO_BIG,
	REASON_NO_ROUTE,
	REASON_UNRESOLVED,
	REASON_EGRESS_FULL,
	REASON_SEND_FAILED,
	REASONS = 32,
};

// An address of either family; IPv4 is mapped (RFC 4291 §2.5.5.2).
struct address {
	__u32 word[4];
};

struct network_key {
	__u32 vni;
	struct address listen;
};

struct place_key {
	__u32 bits; // of what follows
	__u32 set;  // big endian
	struct address address;
};

enum network_flags {
	NETWORK_GROUP = 1,
	NETWORK_ZERO_CHECKSUM6 = 2,
	NETWORK_HEAR_VTEPS = 4,
	NETWORK_HEAR_MACS = 8,
	NETWORK_OWN = 16,
	NETWORK_OTHERS = 32,
	NETWORK_LEASED = 64,
	NETWORK_DELIVERS = 128,
	NETWORK_ITSELF = 256, // the set of that name is not empty
};

// The first entry of a list. All that a packet is judged by is found from here, so that
// replacing a list replaces everything at once.
struct network {
	__u32 count; // of targets, which follow
	__u32 generation;
	__u32 state;   // key in states
	__u32 own;     // set of places: addresses of this host
	__u32 segment; // set of places: who may send to the group
	__u32 itself;  // set of places: who of the segment copies its own
	__u16 port;    // big endian
	__u16 flags;
	__u32 rate;
	__u32 burst;
	__u32 own_marks; // of the set own: see marks
};

enum target_flags {
	TARGET_SLOW = 1, // not for us: no neighbour, or no Ethernet
};

struct target {
	struct address to;
	__u32 ifindex;
	__u16 flags;
	__u8 macs[12]; // destination and source, aligned as in a packet: see put_macs
	__u16 reserved;
	__u32 mtu;
};

_Static_assert(sizeof(struct network) == sizeof(struct target), "both are entries of a list");

// What a list is kept in: a lookup costs more than all else that the program does for a copy.
struct block {
	struct target entries[BLOCK];
};

struct state {
	struct bpf_spin_lock lock;
	__u32 reserved;
	__s64 credit; // in 10⁻⁹ packets
	__u64 at;
	__u64 packets;
	__u64 relayed;
	__u64 copies;
	__u64 dropped[REASONS];
};

struct rest {
	__u64 packets;
	__u64 dropped[REASONS];
};

struct heard_key {
	__u32 vni;
	struct address vtep;
	__u8 mac[6];
	__u16 reserved;
};

enum handover_flags {
	HANDOVER_SENT = 1,
	HANDOVER_UNDECIDED = 2, // judge it anew
	HANDOVER_PARTIAL = 4,	// a checksum of it is to be completed
	HANDOVER_LONG = 8,	// one inner packet, longer than one can be
	HANDOVER_TAIL = 16,	// no packet, but the end of the next one of this CPU
};

// What goes to user space before a packet that we do not finish.
struct handover {
	__u32 length;
	__u32 generation;
	__u32 from; // the first target that got no copy; slow ones before it got none either
	__u16 segment;
	__u16 flags;
};

// What the loops of one packet work with. It is in a map and not on the stack, as the
// verifier would follow every value that a loop counts there. Programs of one CPU do
// not interrupt each other while they use it: both hooks run with softirqs off, and a copy
// that passes the egress hook leaves early.
struct scratch {
	struct {
		__u32 offset, length, sum; // of what is left
		__u32 failed;
	} checksum;
	struct {
		__u64 first; // VXLAN header
		__u32 offset, payload, size;
		__u32 mixed;
	} merged;
	struct {
		struct address source;
		struct address previous; // destination of the copy before
		__u32 udp;		 // offset
		__u32 size;		 // of a copy, without Ethernet
		__u32 sum;		 // of the IPv4 header without its destination
		__u32 count; // of targets
		__u32 copies, slow, big;
		__u32 next; // target to go on with
		__u32 six, checked, stopped;
		__u32 whole, check; // as in struct packet
	} work;
	struct {
		struct address address;
		__u64 tick;
		__u16 port;
		__u16 open;
	} socket; // the last one that was looked for
	__u8 bytes[SCRATCH + 4];
};

// What a loop is given.
struct context {
	struct __sk_buff *skb;
	void *list;
	struct scratch *s;
};

struct list {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct block));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST);
	__uint(key_size, sizeof(struct network_key));
	__array(values, struct list);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST);
	__type(key, __u32);
	__type(value, __u32);
} vnis SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST);
	__type(key, struct address);
	__type(value, __u32);
} listens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PLACES);
	__type(key, struct place_key);
	__type(value, __u32);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST);
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

// Packets of no network: what strangers can make us count is counted by each CPU for itself.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rest);
} rests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, HEARD);
	__type(key, struct heard_key);
	__type(value, __u64);
} heards SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} handovers SEC(".maps");

// The interface that packets are copied from. One that is moved to another namespace takes programs
// at tcx along, to where user space cannot take them off and other devices have the numbers of ours.
volatile __u32 home = 0;

// Marks of the addresses in listens: see mark.
volatile __u64 listening[64] = {};

// An egress queue was full: packets go to user space, which waits, until it says that it
// has sent all.
volatile __u32 congested = 0;

// How many packets have been handed over. User space counts what it has been handed, so that it
// knows when it has sent all, whichever CPU it came from.
volatile __u64 handed = 0;

// Until when leased networks copy what others send, as bpf_ktime_get_ns counts. User space
// moves it; when that hangs it passes.
volatile __u64 lease = 0;

// The same when user space is gone; 0: it ends with it.
volatile __u64 outlives = 0;

// The same for all that is copied; 0: there is no end.
volatile __u64 kept = 0;
volatile __u64 kept_outlives = 0;

// Tells whether user space lives: the kernel makes timers only in maps to which a process
// has a file.
struct life {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct life);
} lives SEC(".maps");

struct packet {
	struct address source, destination;
	__u32 vni;
	__u32 payload; // length
	__u32 ip;      // length of the IP header
	__u32 within;  // is_long: length of all headers from VXLAN to the data that devices cut
	__u16 port;
	__u16 check;
	__u8 dscp;
	bool six;
	bool sent;
	bool is_long;	// merged of one inner packet, and not of several outer ones
	bool whole; // the UDP checksum is right, though another one is to be completed
};
