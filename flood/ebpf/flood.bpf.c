//go:build ignore

// Copies VXLAN packets at tc: the program that package flood/ebpf loads. It decides as
// flood/packet.go and flood/decide.go do, which the tests of the package compare.
//
// No structure of the kernel is read but the stable struct __sk_buff: one object
// serves every kernel that has the helpers (5.17, for bpf_loop).

#include <asm/errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <linux/time.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flood.bpf.h"

char __license[] SEC("license") = "GPL";

static __always_inline __u16 fold(__u64 s)
{
	s = (s >> 32) + (s & 0xffffffff);
	s = (s >> 32) + (s & 0xffffffff);
	s = (s >> 16) + (s & 0xffff);
	s = (s >> 16) + (s & 0xffff);
	return (s >> 16) + (s & 0xffff);
}

static __always_inline bool same(const struct address *a, const struct address *b)
{
	return a->word[3] == b->word[3] && a->word[2] == b->word[2] && a->word[1] == b->word[1] && a->word[0] == b->word[0];
}

static __always_inline void map_ipv4(struct address *a, __u32 ip)
{
	a->word[0] = a->word[1] = 0;
	a->word[2] = bpf_htonl(0xffff);
	a->word[3] = ip;
}

static __always_inline bool is_mapped(const struct address *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == bpf_htonl(0xffff);
}

// mark is a number of 12 bits for an address: where its bit is not set in the marks of a set,
// it is not in the set, and no lookup is needed. Go makes the marks (lists.go).
static __always_inline __u32 mark(const struct address *a)
{
	return (a->word[0] ^ a->word[1] ^ a->word[2] ^ a->word[3]) * 0x9e3779b1u >> 20;
}

static __always_inline bool listens_perhaps(const struct address *a)
{
	__u32 m = mark(a);

	return listening[m >> 6] >> (m & 63) & 1;
}

// drop_rest counts packets of no network, if they are to an address at which we listen.
static __always_inline void drop_rest(const struct packet *p, enum reason r, __u32 n)
{
	__u32 zero = 0;
	struct rest *rest = bpf_map_lookup_elem(&rests, &zero);

	if (rest && r < REASONS && bpf_map_lookup_elem(&listens, &p->destination)) {
		rest->packets += n;
		rest->dropped[r] += n;
	}
}

static __always_inline void add(__u64 *to, __u64 n)
{
	__sync_fetch_and_add(to, n);
}

static long sum_some(__u32 i, struct context *c)
{
	struct scratch *s = c->s;
	__u32 n = s->checksum.length;
	__s64 more;

	s->checksum.failed = true;
	if (n > SCRATCH)
		n = SCRATCH;
	// Zeros behind the end fill its last word.
	if (n < SCRATCH)
		*(__u32 *)(s->bytes + (n & 0x1fc)) = 0;
	asm volatile("" : "+r"(n));
	if (n < 1 || n > SCRATCH)
		return 1;
	if (bpf_skb_load_bytes(c->skb, s->checksum.offset, s->bytes, n))
		return 1;
	s->checksum.offset += n;
	s->checksum.length -= n;
	n = (n + 3) & ~3u;
	asm volatile("" : "+r"(n));
	if (n > SCRATCH)
		return 1;
	more = bpf_csum_diff(0, 0, (__be32 *)s->bytes, n, s->checksum.sum);
	if (more < 0)
		return 1;
	s->checksum.sum = more;
	s->checksum.failed = false;
	return !s->checksum.length;
}

// partial says that a device is to complete a checksum of the packet (CHECKSUM_PARTIAL): it
// has not been on a wire. The kernel does not tell, but then leaves a checksum alone that
// is to follow a change of what it covers (inet_proto_csum_replace4).
static __always_inline bool partial(struct __sk_buff *skb, const struct packet *p)
{
	__u32 udp = p->six ? ETH_HLEN + IPV6_SIZE : ETH_HLEN + IPV4_SIZE;
	void *data, *end;
	__u16 *field;
	bool same;

	if (bpf_l4_csum_replace(skb, udp + 6, 0, bpf_htonl(1), sizeof(__u32)))
		return false;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + HEAD > end)
		return false;
	field = data + udp + 6;
	same = *field == p->check;
	*field = p->check;
	return same;
}

// checksum_ok checks the UDP checksum, unless the packet has not been on a wire.
static __always_inline bool checksum_ok(struct __sk_buff *skb, struct scratch *s, __u32 offset, __u32 length, __u32 pseudo, struct packet *p)
{
	struct context c = {.skb = skb, .s = s};

	// CHECKSUM_UNNECESSARY: the card has checked it.
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return true;
	if (partial(skb, p)) {
		// Either this checksum is to be completed, or it is one within, and this one will
		// be right when that has been (lco_csum).
		p->whole = fold(pseudo) != p->check;
		return true;
	}
	s->checksum.offset = offset;
	s->checksum.length = length;
	s->checksum.sum = pseudo;
	bpf_loop((length + SCRATCH - 1) / SCRATCH, sum_some, &c, 0);
	return !s->checksum.failed && fold(s->checksum.sum) == 0xffff;
}

// read_ipv4 and read_ipv6 judge in the order of flood/packet.go.
static __always_inline enum reason read_ipv4(struct __sk_buff *skb, const __u8 *ip, struct packet *p, __u32 *total)
{
	__u32 length = skb->len - ETH_HLEN, sum = 0;

	*total = ip[2] << 8 | ip[3];
	if (*total < IPV4_SIZE)
		return REASON_BAD_IP_HEADER;
	if (length < *total)
		return REASON_TRUNCATED;
#pragma unroll
	for (int i = 0; i < IPV4_SIZE; i += 2)
		sum += *(__u16 *)(ip + i);
	if (fold(sum) != 0xffff)
		return REASON_BAD_IP_CHECKSUM;
	if ((ip[6] << 8 | ip[7]) & 0x3fff)
		return REASON_FRAGMENT;
	if (!ip[8])
		return REASON_BAD_TTL;
	p->dscp = ip[1] >> 2;
	return REASON_KEPT;
}

static __always_inline enum reason read_ipv6(struct __sk_buff *skb, const __u8 *ip, struct packet *p, __u32 *total)
{
	__u32 length = skb->len - ETH_HLEN, payload = ip[4] << 8 | ip[5];

	*total = IPV6_SIZE + payload;
	if (!payload)
		return REASON_BAD_IP_HEADER;
	if (length < *total)
		return REASON_TRUNCATED;
	if (ip[6] == NEXT_FRAGMENT)
		return REASON_FRAGMENT;
	if (!ip[7])
		return REASON_BAD_TTL;
	p->dscp = (__u8)(ip[0] << 4 | ip[1] >> 4) >> 2;
	return REASON_KEPT;
}

// read_udp parses what is behind the IP header. end has been checked to be behind it.
static __always_inline enum reason read_udp(struct __sk_buff *skb, struct scratch *s, struct packet *p, __u32 length)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 at = p->six ? ETH_HLEN + IPV6_SIZE : ETH_HLEN + IPV4_SIZE;
	__u8 *udp = data + at;
	__u32 *vxlan;
	__s64 sum;

	if (length < UDP_SIZE)
		return REASON_TRUNCATED;
	if ((void *)(udp + UDP_SIZE) > end)
		return REASON_TRUNCATED;
	if ((udp[4] << 8 | udp[5]) != length)
		return REASON_BAD_UDP_LENGTH;
	p->payload = length - UDP_SIZE;
	p->port = *(__u16 *)(udp + 2);
	p->check = *(__u16 *)(udp + 6);
	if (p->payload < VXLAN_SIZE + ETH_HLEN)
		return REASON_NO_VXLAN;
	vxlan = (__u32 *)(udp + UDP_SIZE);
	if ((void *)(vxlan + 2) > end)
		return REASON_TRUNCATED;
	if (vxlan[0] != bpf_htonl(0x08000000) || vxlan[1] & bpf_htonl(0xff))
		return REASON_BAD_FLAGS;
	p->vni = bpf_ntohl(vxlan[1]) >> 8;
	if (!p->check || skb->gso_size)
		return REASON_KEPT;
	// IPv4 addresses add the same as mapped ones but for their prefix.
	__be32 pseudo[10] = {
		p->source.word[0], p->source.word[1], p->six ? p->source.word[2] : 0, p->source.word[3],
		p->destination.word[0], p->destination.word[1], p->six ? p->destination.word[2] : 0, p->destination.word[3],
		bpf_htonl(length), bpf_htonl(IPPROTO_UDP),
	};
	sum = bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), 0);
	return checksum_ok(skb, s, at, length, sum, p) ? REASON_KEPT : REASON_BAD_UDP_CHECKSUM;
}

static __always_inline bool usable(const struct packet *p)
{
	const struct address *a = &p->source;
	__u32 ip = bpf_ntohl(a->word[3]);

	if (p->six)
		return !is_mapped(a) && (a->word[0] & bpf_htonl(0xff000000)) != bpf_htonl(0xff000000) &&
		       (a->word[0] || a->word[1] || a->word[2] || ip > 1);
	return ip && ip >> 28 != 0xe && ip >> 24 != 127 && ip != 0xffffffff;
}

static __always_inline bool in(__u32 set, const struct address *a)
{
	struct place_key key = {.bits = 32 + 128, .set = bpf_htonl(set), .address = *a};

	return bpf_map_lookup_elem(&places, &key);
}

// living says that user space is there. A timer that is there already is -EBUSY; without user
// space there is none and can be none: its file is closed in the moment in which it dies.
static __always_inline bool living(void)
{
	__u32 zero = 0;
	struct life *life = bpf_map_lookup_elem(&lives, &zero);

	return life && bpf_timer_init(&life->timer, &lives, CLOCK_MONOTONIC) != -EPERM;
}

// runs says that a lease has not ended. Where it would have ended, had the other thing happened
// to user space, that has to be known.
static __always_inline bool runs(__u64 living_until, __u64 dead_until)
{
	__u64 now = bpf_ktime_get_ns();
	bool alive = now < living_until, dead = now < dead_until;

	return alive == dead ? alive : living() == alive;
}

// leased says that there is a lease.
static __always_inline bool leased(void) { return runs(lease, outlives); }

// over says that nothing is to be copied any more.
static __always_inline bool over(void) { return kept && !runs(kept, kept_outlives); }

static __always_inline enum reason judge(const struct packet *p, const struct network *n)
{
	bool own;

	if (p->port != n->port)
		return REASON_WRONG_PORT;
	if (!usable(p))
		return REASON_BAD_SOURCE;
	if (p->dscp == MARK && !(n->flags & NETWORK_DELIVERS))
		return REASON_RELAYED;
	own = n->own_marks >> (mark(&p->source) & 31) & 1 && in(n->own, &p->source);
	if (own && !p->sent)
		return REASON_OWN_SOURCE;
	if (p->sent && !own)
		return REASON_RELAYED;
	if (n->flags & NETWORK_GROUP && !own && !in(n->segment, &p->source))
		return REASON_SOURCE_OUTSIDE;
	if (n->flags & NETWORK_DELIVERS && in(n->segment, &p->source))
		return REASON_SOURCE_INSIDE;
	if (!p->check && p->six && !(n->flags & NETWORK_ZERO_CHECKSUM6))
		return REASON_NO_UDP_CHECKSUM;
	if (n->flags & NETWORK_GROUP) {
		if (n->flags & NETWORK_ITSELF && in(n->itself, &p->source))
			return REASON_COPIED_BY_SENDER;
		if (!(n->flags & (own ? NETWORK_OWN : NETWORK_OTHERS)))
			return REASON_NOT_ELECTED;
		if (!own && n->flags & NETWORK_LEASED && !leased())
			return REASON_NOT_ELECTED;
	}
	return over() ? REASON_NOT_ELECTED : REASON_KEPT;
}

// take takes the tokens of n packets that travel as one when there is one token: what is
// overdrawn is waited for.
static __always_inline bool take(struct state *s, const struct network *n, __u32 packets)
{
	__s64 most = (__s64)n->burst * 1000000000;
	__u64 now, passed, more = most;
	bool ok;

	if (!n->rate)
		return true;
	now = bpf_ktime_get_ns();
	bpf_spin_lock(&s->lock);
	passed = now - s->at;
	if (s->credit > most)
		s->credit = most;
	if (!s->at) {
		s->credit = most;
		s->at = now;
	} else if ((__s64)passed > 0) {
		if (passed < 4000000000)
			more = passed * n->rate;
		else if (passed / 1000000000 * n->rate < n->burst)
			more = passed / 1000000000 * n->rate * 1000000000;
		if (more < (__u64)(most - s->credit))
			s->credit += more;
		else
			s->credit = most;
		s->at = now;
	}
	ok = s->credit >= 1000000000;
	if (ok)
		s->credit -= (__s64)packets * 1000000000;
	bpf_spin_unlock(&s->lock);
	return ok;
}

static __always_inline void hear_one(struct heard_key *key, __u64 now)
{
	__u64 *at = bpf_map_lookup_elem(&heards, key);

	if (at)
		*at = now;
	else
		bpf_map_update_elem(&heards, key, &now, BPF_ANY);
}

static __always_inline void hear(struct __sk_buff *skb, const struct packet *p, const struct network *n)
{
	struct heard_key key = {.vni = p->vni, .vtep = p->source};
	__u32 at = (p->six ? ETH_HLEN + IPV6_SIZE : ETH_HLEN + IPV4_SIZE) + UDP_SIZE + VXLAN_SIZE + 6;
	__u64 now;

	if (p->sent || !(n->flags & (NETWORK_HEAR_VTEPS | NETWORK_HEAR_MACS)))
		return;
	now = bpf_ktime_get_ns();
	hear_one(&key, now);
	if (!(n->flags & NETWORK_HEAR_MACS) || bpf_skb_load_bytes(skb, at, key.mac, sizeof(key.mac)))
		return;
	if (!(key.mac[0] & 1) && (key.mac[0] | key.mac[1] | key.mac[2] | key.mac[3] | key.mac[4] | key.mac[5]))
		hear_one(&key, now);
}

// follow is a checksum after the destination has become another one. Zero would mean that
// there is none.
static __always_inline __u16 follow(__u16 check, const struct address *from, const struct address *to)
{
	__u64 sum = (__u16)~check;

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)to->word[i] + (__u32)~from->word[i];
	check = ~fold(sum);
	return check ? check : 0xffff;
}

// put_macs writes both addresses of an Ethernet header. Its first two bytes apart, all of it is
// aligned wherever the IP header is.
static __always_inline void put_macs(void *to, const void *macs)
{
	*(__u16 *)to = *(__u16 *)macs;
	*(__u32 *)(to + 2) = *(__u32 *)(macs + 2);
	*(__u32 *)(to + 6) = *(__u32 *)(macs + 6);
	*(__u16 *)(to + 10) = *(__u16 *)(macs + 10);
}

// copy makes one copy: it turns the packet into it, and sends a clone. False ends the list.
static __always_inline bool copy(struct __sk_buff *skb, struct scratch *s, const struct target *t, __u32 i)
{
	__u64 flags = BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0;
	void *data, *end;
	long r;

	if (same(&t->to, &s->work.source))
		return true;
	if (t->flags & TARGET_SLOW) {
		s->work.slow++;
		return true;
	}
	if (s->work.size > t->mtu) {
		s->work.big++;
		return true;
	}
	s->work.next = i;
	if (s->work.checked) {
		if (s->work.whole)
			s->work.check = follow(s->work.check, &s->work.previous, &t->to);
		else if (s->work.six)
			bpf_l4_csum_replace(skb, s->work.udp + 6, 0, bpf_csum_diff(s->work.previous.word, sizeof(struct address), (__be32 *)t->to.word, sizeof(struct address), 0), flags);
		else
			bpf_l4_csum_replace(skb, s->work.udp + 6, s->work.previous.word[3], t->to.word[3], flags | sizeof(__u32));
		s->work.previous = t->to;
	}
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + HEAD > end)
		goto stop;
	put_macs(data, t->macs);
	if (s->work.six) {
		__builtin_memcpy(data + ETH_HLEN + 24, &t->to, sizeof(t->to));
		if (s->work.whole)
			*(__u16 *)(data + ETH_HLEN + IPV6_SIZE + 6) = s->work.check;
	} else {
		if (s->work.whole)
			*(__u16 *)(data + ETH_HLEN + IPV4_SIZE + 6) = s->work.check;
		*(__u32 *)(data + ETH_HLEN + 16) = t->to.word[3];
		*(__u16 *)(data + ETH_HLEN + 10) = ~fold((__u64)s->work.sum + (t->to.word[3] >> 16) + (t->to.word[3] & 0xffff));
	}
	r = bpf_clone_redirect(skb, t->ifindex, 0);
	// NET_XMIT_CN: this one is in the queue, but the queue has thrown away another.
	if (r && r != 2) {
		if (r > 0)
			congested = 1;
		goto stop;
	}
	s->work.copies++;
	if (!r)
		return true;
	congested = 1;
	s->work.next = i + 1;
stop:
	s->work.stopped = true;
	return false;
}

// copy_block makes the copies for the targets of a block.
static long copy_block(__u32 b, struct context *c)
{
	struct block *block = bpf_map_lookup_elem(c->list, &b);
	struct scratch *s = c->s;

	if (!block) {
		s->work.next = b * BLOCK - 1;
		s->work.stopped = true;
		return 1;
	}
	for (__u32 i = 0; i < BLOCK; i++) {
		__u32 target = b * BLOCK + i - 1; // the first entry is no target

		if (target < s->work.count && !copy(c->skb, s, &block->entries[i], target))
			return 1;
	}
	return 0;
}

// hand_tail gives user space what a perf record with the packet has no room for.
static __always_inline bool hand_tail(struct __sk_buff *skb, struct scratch *s, __u32 length)
{
	struct handover *h = (struct handover *)s->bytes;

	asm volatile("" : "+r"(length));
	if (length < 1 || length > MAX_TAIL)
		return false;
	h->length = length;
	h->flags = HANDOVER_TAIL;
	return !bpf_skb_load_bytes(skb, MAX_SAMPLE, h + 1, length) &&
	       !bpf_perf_event_output(skb, &handovers, BPF_F_CURRENT_CPU, h, sizeof(*h) + MAX_TAIL);
}

// hand gives a packet to user space.
static __always_inline bool hand(struct __sk_buff *skb, struct scratch *s, struct handover *h, const struct packet *p)
{
	__u64 length = skb->len;

	// What is not parsed as far as that is given as it is.
	if (p->payload && partial(skb, p))
		h->flags |= HANDOVER_PARTIAL;
	if (p->is_long)
		h->flags |= HANDOVER_LONG;
	h->length = length;
	h->segment = skb->gso_size;
	if (length > MAX_SAMPLE) {
		if (!hand_tail(skb, s, length - MAX_SAMPLE))
			return false;
		length = MAX_SAMPLE;
	}
	add((__u64 *)&handed, 1); // before it can be read
	if (!bpf_perf_event_output(skb, &handovers, BPF_F_CURRENT_CPU | length << 32, h, sizeof(*h)))
		return true;
	add((__u64 *)&handed, -1);
	return false;
}

// compare looks at one more packet; the last one settles it.
static long compare(__u32 i, struct context *c)
{
	struct scratch *s = c->s;
	__u32 offset = (i + 1) * s->merged.size;
	__u64 other;

	if (s->merged.payload - offset < VXLAN_SIZE + ETH_HLEN || bpf_skb_load_bytes(c->skb, s->merged.offset + offset, &other, sizeof(other)) ||
	    other != s->merged.first)
		return 1;
	if (offset + s->merged.size >= s->merged.payload)
		s->merged.mixed = false;
	return 0;
}

// read_inner looks for TCP or UDP in the frame that a packet carries. It gives where the IP header says that the frame ends, behind
// the UDP header of the packet; 0 without one.
static __always_inline __u32 read_inner(struct __sk_buff *skb, struct packet *p, __u32 at)
{
	__u32 offset = VXLAN_SIZE + 2 * ETH_ALEN, end;
	__u8 ip[IPV4_SIZE], protocol, words;
	__u16 type = 0;

	for (int tags = 0; tags < 3; tags++) {
		if (bpf_skb_load_bytes(skb, at + offset, &type, sizeof(type)))
			return 0;
		offset += sizeof(type);
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		offset += 2;
	}
	if (bpf_skb_load_bytes(skb, at + offset, ip, sizeof(ip)))
		return 0;
	if (type == bpf_htons(ETH_P_IP)) {
		end = offset + (ip[2] << 8 | ip[3]);
		offset += (ip[0] & 0x0f) * 4;
		protocol = ip[9];
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		end = offset + IPV6_SIZE + (ip[4] << 8 | ip[5]);
		offset += IPV6_SIZE;
		protocol = ip[6];
	} else {
		return 0;
	}
	if (protocol == IPPROTO_UDP)
		p->within = offset + UDP_SIZE;
	else if (protocol == IPPROTO_TCP && !bpf_skb_load_bytes(skb, at + offset + 12, &words, sizeof(words)))
		p->within = offset + (words >> 4) * 4;
	return end;
}

// uniform says that all packets which offloads have merged into one are of the same
// network: a copy of the whole is then a copy of each. Only the first has been parsed.
// What is one packet with a longer inner one has one VXLAN header. The kernel does not tell the program which it is. What this
// host sends is of the second kind, as its VXLAN devices merge nothing: what looks like a header further on is
// data of whoever sent it, and no packet.
static __always_inline bool uniform(struct __sk_buff *skb, struct scratch *s, struct packet *p)
{
	__u32 at = (p->six ? ETH_HLEN + IPV6_SIZE : ETH_HLEN + IPV4_SIZE) + UDP_SIZE;
	struct context c = {.skb = skb, .s = s};

	p->is_long = read_inner(skb, p, at) == p->payload || p->sent;
	if (p->is_long)
		return true;
	p->within = 0;
	if (skb->gso_size < VXLAN_SIZE + ETH_HLEN)
		return false;
	if (p->payload <= skb->gso_size)
		return true;
	if (bpf_skb_load_bytes(skb, at, &s->merged.first, sizeof(s->merged.first)))
		return false;
	s->merged.offset = at;
	s->merged.payload = p->payload;
	s->merged.size = skb->gso_size;
	s->merged.mixed = true;
	bpf_loop((p->payload - 1) / skb->gso_size, compare, &c, 0);
	return !s->merged.mixed;
}

// original is what copies change of a packet.
struct original {
	__u8 macs[12];
	__u8 tos[2];	// and for IPv6 the first bytes of the flow label
	__u16 check;	// of IPv4
	__u8 ttl;
};

static __always_inline bool begin(struct __sk_buff *skb, const struct packet *p, struct scratch *s, struct original *o)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 *ip = data + ETH_HLEN;

	if (data + HEAD > end)
		return false;
	__builtin_memcpy(o->macs, data, sizeof(o->macs));
	__builtin_memcpy(o->tos, ip, sizeof(o->tos));
	if (p->six) {
		o->ttl = ip[7];
		ip[7] = TTL;
		ip[0] = 0x60 | MARK >> 2;
		ip[1] = (__u8)(MARK << 6) | (ip[1] & 0x3f);
		return true;
	}
	o->ttl = ip[8];
	o->check = *(__u16 *)(ip + 10);
	ip[8] = TTL;
	ip[1] = MARK << 2 | (ip[1] & 3);
	s->work.sum = 0;
#pragma unroll
	for (int i = 0; i < 16; i += 2) {
		if (i != 10)
			s->work.sum += *(__u16 *)(ip + i);
	}
	return true;
}

static __always_inline void restore(struct __sk_buff *skb, const struct packet *p, struct scratch *s, const struct original *o)
{
	__u64 flags = BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0;
	void *data, *end;
	__u8 *ip;

	// The checksum itself is put back below; this is for what else the kernel keeps.
	if (s->work.checked && !p->whole && p->six)
		bpf_l4_csum_replace(skb, s->work.udp + 6, 0, bpf_csum_diff(s->work.previous.word, sizeof(struct address), (__be32 *)p->destination.word, sizeof(struct address), 0), flags);
	else if (s->work.checked && !p->whole)
		bpf_l4_csum_replace(skb, s->work.udp + 6, s->work.previous.word[3], p->destination.word[3], flags | sizeof(__u32));
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ip = data + ETH_HLEN;
	if (data + HEAD > end)
		return;
	__builtin_memcpy(data, o->macs, sizeof(o->macs));
	__builtin_memcpy(ip, o->tos, sizeof(o->tos));
	if (p->six) {
		ip[7] = o->ttl;
		__builtin_memcpy(ip + 24, &p->destination, sizeof(p->destination));
		// The checksum as it was: 0 and 0xffff are the same to sums.
		*(__u16 *)(ip + IPV6_SIZE + 6) = p->check;
		return;
	}
	ip[8] = o->ttl;
	*(__u16 *)(ip + 10) = o->check;
	*(__u32 *)(ip + 16) = p->destination.word[3];
	*(__u16 *)(ip + IPV4_SIZE + 6) = p->check;
}

// replicate copies a packet to all targets that can be reached from here, and hands it
// over for the rest.
static __always_inline void replicate(struct __sk_buff *skb, struct scratch *s, const struct packet *p, struct network *n, void *list, struct state *state, __u32 packets)
{
	struct handover h = {.generation = n->generation, .flags = p->sent ? HANDOVER_SENT : 0};
	struct context c = {.skb = skb, .list = list, .s = s};
	__u32 count = n->count, headers;
	struct original o = {};

	// Nobody there who waits: what the queue takes is better than nothing. A program that
	// was left behind goes on so.
	if (congested && hand(skb, s, &h, p))
		return;
	congested = 0;
	headers = (p->six ? IPV6_SIZE : IPV4_SIZE) + UDP_SIZE;
	s->work.count = count;
	s->work.copies = s->work.slow = s->work.big = s->work.next = 0;
	s->work.source = p->source;
	s->work.previous = p->destination;
	s->work.udp = ETH_HLEN + headers - UDP_SIZE;
	s->work.size = headers + p->payload;
	if (skb->gso_size && p->payload > p->within + skb->gso_size)
		s->work.size = headers + p->within + skb->gso_size;
	s->work.six = p->six;
	s->work.checked = p->check != 0;
	s->work.whole = p->whole;
	s->work.check = p->check;
	s->work.stopped = false;
	if (!begin(skb, p, s, &o))
		return;
	bpf_loop(count / BLOCK + 1, copy_block, &c, 0);
	restore(skb, p, s, &o);
	add(&state->copies, (__u64)s->work.copies * packets);
	if (s->work.big)
		add(&state->dropped[REASON_TOO_BIG], (__u64)s->work.big * packets);
	h.from = s->work.stopped ? s->work.next : count;
	if (h.from >= count && !s->work.slow)
		return;
	if (!hand(skb, s, &h, p)) {
		congested = 0;
		add(&state->dropped[REASON_EGRESS_FULL], (__u64)(count - h.from + s->work.slow) * packets);
	}
}

// open_port says that this host has a socket for what is sent to a service address. The answer
// holds until the kernel's clock ticks (jiffies), as looking costs as much as a third of a copy.
static __always_inline bool open_port(struct __sk_buff *skb, struct scratch *s, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	__u64 tick = bpf_jiffies64();
	struct bpf_sock *sk;

	if (s->socket.tick == tick && s->socket.port == p->port && same(&s->socket.address, &p->destination))
		return s->socket.open;
	if (p->six) {
		__builtin_memcpy(tuple.ipv6.daddr, &p->destination, sizeof(p->destination));
		tuple.ipv6.dport = p->port;
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv4.daddr = p->destination.word[3];
		tuple.ipv4.dport = p->port;
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	s->socket.address = p->destination;
	s->socket.port = p->port;
	s->socket.tick = tick;
	s->socket.open = sk != 0;
	if (sk)
		bpf_sk_release(sk);
	return s->socket.open;
}

// A VXLAN device of this host gets its copy of what was sent to the service address. Without
// one the kernel would answer that the port is closed.
static __always_inline int consumed(struct __sk_buff *skb, struct scratch *s, const struct packet *p, const struct network *n)
{
	if (p->sent || n->flags & NETWORK_GROUP)
		return TC_ACT_UNSPEC;
	return open_port(skb, s, p) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

// undecided hands over what is not parsed here.
static __always_inline void undecided(struct __sk_buff *skb, struct scratch *s, const struct packet *p)
{
	struct handover h = {.flags = HANDOVER_UNDECIDED | (p->sent ? HANDOVER_SENT : 0)};

	if (bpf_map_lookup_elem(&listens, &p->destination) && !hand(skb, s, &h, p))
		drop_rest(p, REASON_OVERRUN, 1);
}

static __always_inline int relay(struct __sk_buff *skb, bool sent)
{
	struct packet p = {.sent = sent};
	__u32 total, zero = 0, packets = 1, size;
	void *data, *end, *list;
	struct network_key key;
	struct block *block;
	struct network *n;
	struct scratch *scratch;
	struct state *s;
	enum reason r;
	__u8 *ip;

	if (skb->ifindex != home)
		return TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		p.six = true;
	else if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	if (skb->vlan_present || (!sent && skb->pkt_type == PACKET_OTHERHOST))
		return TC_ACT_UNSPEC;
	size = p.six ? IPV6_SIZE : IPV4_SIZE;
	if (skb->len < ETH_HLEN + size)
		return TC_ACT_UNSPEC;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN + IPV6_SIZE > end) {
		bpf_skb_pull_data(skb, skb->len < HEAD ? skb->len : HEAD);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	ip = data + ETH_HLEN;
	if (p.six) {
		if ((void *)ip + IPV6_SIZE > end)
			return TC_ACT_UNSPEC;
		__builtin_memcpy(&p.destination, ip + 24, sizeof(p.destination));
		// Own unicast is nobody's to copy, nor is what we have just delivered to a group:
		// it passes here while the one that it is a clone of is being worked on.
		if ((sent && (ip[24] != 0xff || (__u8)(ip[0] << 4 | ip[1] >> 4) >> 2 == MARK)) || is_mapped(&p.destination) || (ip[6] != IPPROTO_UDP && ip[6] != NEXT_FRAGMENT))
			return TC_ACT_UNSPEC;
		__builtin_memcpy(&p.source, ip + 8, sizeof(p.source));
	} else {
		if ((void *)ip + IPV4_SIZE > end)
			return TC_ACT_UNSPEC;
		if ((sent && (ip[16] >> 4 != 0xe || ip[1] >> 2 == MARK)) || ip[9] != IPPROTO_UDP)
			return TC_ACT_UNSPEC;
		map_ipv4(&p.source, *(__u32 *)(ip + 12));
		map_ipv4(&p.destination, *(__u32 *)(ip + 16));
	}
	// What is in networks is listened to. So only what is not has to be looked up in listens.
	if (!listens_perhaps(&p.destination))
		return TC_ACT_UNSPEC;
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch)
		return TC_ACT_UNSPEC;
	if (ip[0] >> 4 != (p.six ? 6 : 4)) {
		drop_rest(&p, REASON_BAD_IP_HEADER, 1);
		return TC_ACT_UNSPEC;
	}
	if (!p.six && (ip[0] & 0x0f) < 5) {
		drop_rest(&p, REASON_BAD_IP_HEADER, 1);
		return TC_ACT_UNSPEC;
	}
	if (!p.six && (ip[0] & 0x0f) > 5) {
		undecided(skb, scratch, &p);
		return TC_ACT_UNSPEC;
	}
	r = p.six ? read_ipv6(skb, ip, &p, &total) : read_ipv4(skb, ip, &p, &total);
	if (r) {
		drop_rest(&p, r, 1);
		return TC_ACT_UNSPEC;
	}
	if (data + PARSED > end)
		bpf_skb_pull_data(skb, skb->len < PARSED ? skb->len : PARSED);
	r = read_udp(skb, scratch, &p, total - size);
	if (r) {
		drop_rest(&p, r, 1);
		return TC_ACT_UNSPEC;
	}
	if (skb->gso_size) {
		if (!uniform(skb, scratch, &p)) {
			undecided(skb, scratch, &p);
			return TC_ACT_UNSPEC;
		}
		packets = skb->gso_segs;
		if (!packets)
			packets = (p.payload + skb->gso_size - 1) / skb->gso_size;
	}
	key.vni = p.vni;
	key.listen = p.destination;
	list = bpf_map_lookup_elem(&networks, &key);
	if (!list) {
		drop_rest(&p, bpf_map_lookup_elem(&vnis, &p.vni) ? REASON_NOT_LISTENING : REASON_UNKNOWN_VNI, packets);
		return TC_ACT_UNSPEC;
	}
	block = bpf_map_lookup_elem(list, &zero);
	if (!block)
		return TC_ACT_UNSPEC;
	n = (struct network *)block;
	s = bpf_map_lookup_elem(&states, &n->state);
	if (!s)
		return TC_ACT_UNSPEC;
	add(&s->packets, packets);
	r = judge(&p, n);
	if (!r || r == REASON_COPIED_BY_SENDER || r == REASON_NOT_ELECTED)
		hear(skb, &p, n);
	if (!r) {
		if (!n->count) {
			r = REASON_NOBODY;
		} else if (n->count == 1 && same(&block->entries[1].to, &p.source)) {
			r = REASON_NOBODY;
		}
		if (!r && !take(s, n, packets))
			r = REASON_LIMITED;
	}
	if (r) {
		add(&s->dropped[r & (REASONS - 1)], packets);
		return r == REASON_NOBODY || r == REASON_LIMITED ? consumed(skb, scratch, &p, n) : TC_ACT_UNSPEC;
	}
	add(&s->relayed, packets);
	replicate(skb, scratch, &p, n, list, s, packets);
	return consumed(skb, scratch, &p, n);
}

SEC("tc")
int flood_ingress(struct __sk_buff *skb) { return relay(skb, false); }

SEC("tc")
int flood_egress(struct __sk_buff *skb) { return relay(skb, true); }

// flood_take takes a token of a network for user space, which runs it with the key of the
// network behind an Ethernet header (BPF_PROG_TEST_RUN).
SEC("tc")
int flood_take(struct __sk_buff *skb)
{
	struct network_key key;
	struct network *n;
	struct state *s;
	__u32 zero = 0;
	void *list;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &key, sizeof(key)))
		return 0;
	list = bpf_map_lookup_elem(&networks, &key);
	n = list ? bpf_map_lookup_elem(list, &zero) : 0;
	s = n ? bpf_map_lookup_elem(&states, &n->state) : 0;
	return s && take(s, n, 1);
}

// Types whose layout Go needs, and the reasons.
const struct network_key *unused_network_key __attribute__((unused));
const struct network *unused_network __attribute__((unused));
const struct target *unused_target __attribute__((unused));
const struct block *unused_block __attribute__((unused));
const struct handover *unused_handover __attribute__((unused));
const enum reason *unused_reason __attribute__((unused));
const enum sizes *unused_sizes __attribute__((unused));
