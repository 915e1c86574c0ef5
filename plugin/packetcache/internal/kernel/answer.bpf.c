// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// The program answers queries that it knows the answer to, at the interface by which they came in. It passes everything else on
// to the kernel's stack as if the program were not there. The Go package writes the maps; table.go has the same structures.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char program_license[] SEC("license") = "Apache-2.0";

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;

#define TCX_PASS -1 // TCX_NEXT (linux/bpf.h of Linux 6.6): the next program, then the stack
#define TCX_SHOT 2  // TCX_DROP

#define MAX_NAME 128  // octets of a name, a multiple of 8
#define MAX_ANSWER 448 // octets behind the question, a multiple of 8
#define MAX_TTLS 8
#define WAYS 2 // entries of one bucket
#define MAX_CLIENTS 4096

#define DNS_HEADER 12
#define OPT 11           // octets of an OPT record without options
#define TYPE_OPT 41
#define RCODE_NXDOMAIN 3
#define TYPE_CLASS 4     // octets of a question's type and class
#define IP_OFFSET 0x1fff // of a fragment
#define IP_MORE 0x2000   // fragments follow

// Set before the program is loaded.
const volatile u64 seed;  // secret, so that nobody can make names that collide
const volatile u32 mark;  // of self-queries, which have to reach the process
const volatile u32 buckets; // a power of two

// An entry is one answer. Go writes it while the program may read it: an odd sequence says that it is being written.
struct entry {
	u32 sequence;
	u16 server;     // index of the address that was asked
	u16 name_len;   // octets
	u64 stored;     // ns, CLOCK_MONOTONIC
	u64 expires;    // ns
	u64 hits;
	u32 type_class; // as in the packet
	u32 tail;       // what the answer depends on beside the question: see tail()
	u64 counts;     // the four counts of the answer's header, as in the packet
	u16 flags;      // of the answer's header, as in the packet
	u16 answer_len; // octets behind the question
	u16 sum;        // of the octets behind the question, as of big-endian words, in host order
	u16 ttls;       // number of offsets in ttl
	u16 ttl[MAX_TTLS]; // offsets of the TTLs behind the question
	u8 name[MAX_NAME]; // in lower case, then zeros
	u8 answer[MAX_ANSWER];
};

// An address is one of IPv6, or one of IPv4 as ::ffff:a.b.c.d.
struct address {
	u32 words[4];
};

// A client is who asks, by which interface, and whom: the index of a server.
struct client {
	struct address ip;
	u32 interface;
	u32 server;
};

// An admission says until when a client is answered here, and what was.
struct admission {
	u64 until; // ns, CLOCK_MONOTONIC
	u64 hits;
	u64 nxdomain; // hits with that answer
	u64 mac;      // the client's; queries from another one are passed on
	u32 last;     // index of the entry that was hit last
	u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); // set before the program is loaded
	__type(key, u32);
	__type(value, struct entry);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64); // 0: the process does not answer there any more; all queries are passed on
} servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct address);
	__type(value, u32); // index in servers
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CLIENTS);
	__type(key, struct client);
	__type(value, u32); // index in admissions
} clients SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_CLIENTS);
	__type(key, u32);
	__type(value, struct admission);
} admissions SEC(".maps");

// A scratch is what does not fit on the stack.
struct scratch {
	struct address to;
	struct client from;
	u64 fence;  // see load_fence
	u8 unused[4];
	u8 packet[8 + DNS_HEADER + MAX_NAME + TYPE_CLASS + OPT + 17]; // UDP header and message, then zeros
	u8 answer[MAX_ANSWER];
	u64 name[MAX_NAME / 8]; // in lower case, then zeros
	u16 ttl[MAX_TTLS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

#define NAME_AT (8 + DNS_HEADER) // in scratch.packet

static __always_inline u32 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline u32 swapped(u32 sum)
{
	return (sum & 0xff) << 8 | sum >> 8;
}

// turned is sum for a turn of 0, and swapped for one of 8. It has no branch, for the verifier's sake.
static __always_inline u32 turned(u32 sum, u32 turn)
{
	return (sum << turn & 0xffff) | sum >> (16 - turn);
}

// Loops are unrolled, so that the offsets are constants: without CAP_PERFMON the verifier allows no arithmetic of pointers with
// operands that differ (kernel/bpf/verifier.c, sanitize_ptr_alu).

// lower makes the letters of eight octets lower case.
static __always_inline u64 lower(u64 w)
{
	const u64 ones = 0x0101010101010101;
	u64 low = w & 0x7f * ones;
	u64 from_a = low + (0x80 - 'A') * ones, above_z = low + (0x7f - 'Z') * ones;
	return w | ((from_a ^ above_z) & ~w & 0x80 * ones) >> 2;
}

static __always_inline u64 mix(u64 h, u64 w)
{
	h = (h ^ w) * 0x9e3779b97f4a7c15;
	return h ^ h >> 29;
}

// A query is a packet of the usual form.
struct query {
	u32 l4;      // offset of the UDP header in the packet
	u32 len;     // octets from the UDP header on
	u64 pseudo;  // sum of the pseudo-header without the length
	u64 mac;     // of the sender
	bool v6;
};

// A checksum says what is in the UDP header.
enum checksum { none, complete, partial };

// words4 adds the four words of an address.
static __always_inline u64 words4(const u32 *w)
{
	return (u64)w[0] + w[1] + w[2] + w[3];
}

static __always_inline bool parse_ipv4(struct __sk_buff *skb, struct query *q, struct scratch *s)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	if ((void *)(ip + 1) > end)
		return false;
	__builtin_memcpy(&q->mac, ((struct ethhdr *)data)->h_source, ETH_ALEN);
	if (*(u8 *)ip != 0x45 || ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(IP_OFFSET | IP_MORE))
		return false;
	u32 length = bpf_ntohs(ip->tot_len);
	if (length + sizeof(struct ethhdr) != skb->len || length < sizeof(*ip))
		return false;
	u32 *w = (u32 *)ip;
	if (fold((u64)w[0] + w[1] + w[2] + w[3] + w[4]) != 0xffff)
		return false;
	s->to.words[0] = s->to.words[1] = s->from.ip.words[0] = s->from.ip.words[1] = 0;
	s->to.words[2] = s->from.ip.words[2] = bpf_htonl(0xffff);
	s->to.words[3] = ip->daddr;
	s->from.ip.words[3] = ip->saddr;
	q->l4 = sizeof(struct ethhdr) + sizeof(*ip);
	q->len = length - sizeof(*ip);
	q->pseudo = (u64)ip->saddr + ip->daddr + bpf_htons(IPPROTO_UDP);
	q->v6 = false;
	return true;
}

static __always_inline bool parse_ipv6(struct __sk_buff *skb, struct query *q, struct scratch *s)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	if ((void *)(ip + 1) > end)
		return false;
	__builtin_memcpy(&q->mac, ((struct ethhdr *)data)->h_source, ETH_ALEN);
	if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
		return false;
	q->len = bpf_ntohs(ip->payload_len);
	q->l4 = sizeof(struct ethhdr) + sizeof(*ip);
	if (q->len + q->l4 != skb->len)
		return false;
	__builtin_memcpy(s->to.words, &ip->daddr, 16);
	__builtin_memcpy(s->from.ip.words, &ip->saddr, 16);
	q->pseudo = words4(s->to.words) + words4(s->from.ip.words) + bpf_htons(IPPROTO_UDP);
	q->v6 = true;
	return true;
}

// load_fence keeps loads before it from loads behind it.
#define load_fence(s) \
	do { \
		if (__sync_fetch_and_add(&(s)->fence, 1) == (u64)-1) \
			return TCX_PASS; \
	} while (0)

SEC("tc")
int nodelocaldns(struct __sk_buff *skb)
{
	if (skb->vlan_present || skb->pkt_type != PACKET_HOST || skb->mark == mark)
		return TCX_PASS;
	u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &zero);
	if (!s)
		return TCX_PASS;
	struct query q = {};
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!parse_ipv4(skb, &q, s))
			return TCX_PASS;
	} else if (skb->protocol != bpf_htons(ETH_P_IPV6) || !parse_ipv6(skb, &q, s)) {
		return TCX_PASS;
	}
	u32 len = q.len;
	if (len < 8 + DNS_HEADER + 1 + TYPE_CLASS || len > 8 + DNS_HEADER + MAX_NAME + TYPE_CLASS + OPT)
		return TCX_PASS;
	if (bpf_skb_load_bytes(skb, q.l4, s->packet, len))
		return TCX_PASS;
	struct udphdr *udp = (struct udphdr *)s->packet;
	if (udp->dest != bpf_htons(53) || udp->len != bpf_htons(len))
		return TCX_PASS;
	u8 *m = s->packet + 8;
	if (m[2] & ~0x01 || m[3] & ~0x30 || *(u32 *)(m + 4) != bpf_htonl(0x00010000) || *(u32 *)(m + 8) & ~bpf_htonl(1))
		return TCX_PASS;

	u32 *index = bpf_map_lookup_elem(&addresses, &s->to);
	if (!index)
		return TCX_PASS;
	u32 number = *index;
	u64 *answers = bpf_map_lookup_elem(&servers, &number);
	if (!answers || !*answers)
		return TCX_PASS;
	u64 now = bpf_ktime_get_ns();
	s->from.interface = skb->ifindex;
	s->from.server = number;
	u32 *admitted = bpf_map_lookup_elem(&clients, &s->from);
	if (!admitted)
		return TCX_PASS;
	u32 slot = *admitted;
	struct admission *client = bpf_map_lookup_elem(&admissions, &slot);
	if (!client || client->until < now || client->mac != q.mac)
		return TCX_PASS;

	// The sums are of little-endian words, which give the same checksum (RFC 1071, 2 (B)).
	for (int i = 0; i < 8; i++)
		s->packet[len + i] = 0;
	u32 padded = (len + 3) & ~3;
	u64 sum = (u32)bpf_csum_diff(0, 0, (__be32 *)s->packet, padded, 0);
	u64 pseudo = q.pseudo + bpf_htons(len);
	enum checksum kind;
	if (udp->check == 0 && !q.v6)
		kind = none;
	else if (fold(sum + pseudo) == 0xffff && udp->check)
		kind = complete;
	else if (udp->check == fold(pseudo))
		kind = partial;
	else
		return TCX_PASS;

	u32 tail = m[2] | m[3];
	u32 question = len - 8 - DNS_HEADER; // octets
	u32 flags = *(u16 *)(m + 2);
	u64 counts = *(u32 *)(m + 4) + (u64)(*(u32 *)(m + 8)) ; // a sum
	if (*(u32 *)(m + 8)) {
		question -= OPT;
		if ((s32)question < 1 + TYPE_CLASS || question > MAX_NAME + TYPE_CLASS)
			return TCX_PASS;
		u8 *opt = m + DNS_HEADER + question;
		if (opt[0] || opt[1] || opt[2] != TYPE_OPT || opt[5] || opt[6] || opt[7] & ~0x80 || opt[8] || opt[9] || opt[10])
			return TCX_PASS;
		tail |= (u32)(1 | opt[7] >> 6) << 8 | (u32)opt[3] << 16 | (u32)opt[4] << 24;
		u32 words = (u32)opt[2] | (u32)opt[3] << 8;       // little-endian words of an even offset
		words += (u32)opt[4] + ((u32)opt[7] << 8);
		words = fold(words);
		if (question & 1)
			words = swapped(words);
		sum += 0xffff - words;
	}
	u32 name_len = question - TYPE_CLASS;
	if (name_len < 1 || name_len > MAX_NAME)
		return TCX_PASS;
	u32 type_class = 0;
	__builtin_memcpy(&type_class, m + DNS_HEADER + name_len, 4);

	u64 h = mix(mix(seed, (u64)number << 32 | name_len), (u64)type_class << 32 | tail);
	// All of the 128 octets are hashed and compared: the verifier would go into each length.
#pragma unroll
	for (u32 i = 0; i < MAX_NAME / 8; i++)
		s->name[i] = 0;
	if (bpf_skb_load_bytes(skb, q.l4 + 8 + DNS_HEADER, s->name, name_len))
		return TCX_PASS;
#pragma unroll
	for (u32 i = 0; i < MAX_NAME / 8; i++) {
		u64 v = lower(s->name[i]);
		s->name[i] = v;
		h = mix(h, v);
	}

	for (u32 way = 0; way < WAYS; way++) {
		u32 place = (u32)(h & (buckets - 1)) * WAYS + way;
		struct entry *e = bpf_map_lookup_elem(&entries, &place);
		if (!e)
			return TCX_PASS;
		u32 sequence = *(volatile u32 *)&e->sequence;
		load_fence(s);
		if (sequence & 1 || e->server != number || e->type_class != type_class || e->tail != tail || e->name_len != name_len || e->expires <= now)
			continue;
		u64 different = 0;
#pragma unroll
		for (u32 i = 0; i < MAX_NAME / 8; i++)
			different |= s->name[i] ^ ((u64 *)e->name)[i];
		if (different)
			continue;
		u32 answer_len = e->answer_len, answer_sum = e->sum, answer_flags = e->flags, ttls = e->ttls;
		u64 answer_counts = e->counts, stored = e->stored;
		if (answer_len < 1 || answer_len > MAX_ANSWER)
			return TCX_PASS;
#pragma unroll
		for (u32 i = 0; i < MAX_ANSWER / 8; i++) // all of it: the verifier would go into each length
			((u64 *)s->answer)[i] = ((u64 *)e->answer)[i];
#pragma unroll
		for (u32 i = 0; i < MAX_TTLS; i++)
			s->ttl[i] = e->ttl[i];
		load_fence(s);
		if (*(volatile u32 *)&e->sequence != sequence)
			return TCX_PASS;

		u32 age = now > stored ? (now - stored) / 1000000000 : 0;
		u64 change = answer_sum;
		if (age) {
#pragma unroll
			for (u32 i = 0; i < MAX_TTLS; i++) {
				u32 off = s->ttl[i];
				if (i >= ttls)
					break;
				if (off > MAX_ANSWER - 4)
					return TCX_PASS;
				u32 ttl = 0, next;
				__builtin_memcpy(&ttl, s->answer + off, 4);
				next = bpf_htonl(bpf_ntohl(ttl) - age);
				__builtin_memcpy(s->answer + off, &next, 4);
				u32 turn = (off & 1) * 8;
				change += 0xffff - turned(fold(ttl), turn) + turned(fold(next), turn);
			}
		}
		u32 fresh = fold(change);
		if (question & 1)
			fresh = swapped(fresh);

		u32 udp_len = 8 + DNS_HEADER + question + answer_len;
		u32 reply = bpf_htons(udp_len);
		u64 pseudo_reply = q.pseudo + reply;
		u32 check = 0;
		if (kind == partial) {
			check = fold(pseudo_reply);
		} else if (kind == complete) {
			sum += pseudo_reply + reply + answer_flags + fresh + (u32)answer_counts + (answer_counts >> 32);
			sum += (0xffff - udp->check) + (0xffff - udp->len) + (0xffff - flags) + (0xffff - fold(counts));
			check = 0xffff - fold(sum);
			if (!check)
				check = 0xffff;
		}
		u32 at = q.l4;
		if (bpf_skb_change_tail(skb, at + udp_len, 0))
			return TCX_PASS;
		if (bpf_skb_store_bytes(skb, at + 8 + DNS_HEADER + question, s->answer, answer_len, 0))
			return TCX_SHOT;
		void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
		struct ethhdr *eth = data;
		struct udphdr *out;
		if (data + sizeof(*eth) + sizeof(struct ipv6hdr) > end)
			return TCX_SHOT;
		u8 mac[6];
		__builtin_memcpy(mac, eth->h_dest, 6);
		__builtin_memcpy(eth->h_dest, eth->h_source, 6);
		__builtin_memcpy(eth->h_source, mac, 6);
		if (q.v6) {
			struct ipv6hdr *ip = (void *)(eth + 1);
			*(u32 *)ip = bpf_htonl(6 << 28);
			ip->payload_len = reply;
			ip->hop_limit = 64;
			__builtin_memcpy(&ip->daddr, s->from.ip.words, 16);
			__builtin_memcpy(&ip->saddr, s->to.words, 16);
			out = (void *)(ip + 1);
		} else {
			struct iphdr *ip = (void *)(eth + 1);
			ip->tos = 0;
			ip->tot_len = bpf_htons(udp_len + sizeof(*ip));
			ip->id = 0;
			ip->frag_off = bpf_htons(0x4000);
			ip->ttl = 64;
			ip->check = 0;
			ip->saddr = s->to.words[3];
			ip->daddr = s->from.ip.words[3];
			u32 *w = (u32 *)ip;
			ip->check = 0xffff - fold((u64)w[0] + w[1] + w[2] + w[3] + w[4]);
			out = (void *)(ip + 1);
		}
		if ((void *)(out + 1) + DNS_HEADER > end)
			return TCX_SHOT;
		out->dest = udp->source;
		out->source = bpf_htons(53);
		out->len = reply;
		out->check = check;
		u8 *header = (u8 *)(out + 1);
		*(u16 *)(header + 2) = answer_flags;
		*(u32 *)(header + 4) = (u32)answer_counts;
		*(u32 *)(header + 8) = answer_counts >> 32;
		__sync_fetch_and_add(&e->hits, 1);
		__sync_fetch_and_add(&client->hits, 1);
		if ((answer_flags >> 8 & 0x0f) == RCODE_NXDOMAIN)
			__sync_fetch_and_add(&client->nxdomain, 1);
		client->last = place;
		return bpf_redirect(skb->ifindex, 0);
	}
	return TCX_PASS;
}
