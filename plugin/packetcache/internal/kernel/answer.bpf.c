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

// Of linux/bpf.h of Linux 6.6.
#define TCX_NEXT -1 // the next program, then the stack
#define TCX_DROP 2

#define MAX_NAME 128  // octets of a name, a multiple of 8
#define MAX_ANSWER 448 // octets behind the question, a multiple of 8
#define MAX_TTLS 8
#define WAYS 2 // entries of one bucket
#define MAX_CLIENTS 4096
#define MAX_SERVERS 128 // a power of two

#define DNS_HEADER 12
#define OPT 11           // octets of an OPT record without options
#define TYPE_OPT 41
#define RCODE_NXDOMAIN 3
#define TYPE_CLASS 4     // octets of a question's type and class
#define ZEROS 17         // octets behind the longest message: for the words of the checksum, and so that an answer begins at a word
#define NAME_AT (8 + DNS_HEADER) // offset of the question behind the UDP header's begin
#define IP_OFFSET 0x1fff // of a fragment
#define IP_MORE 0x2000   // fragments follow

// Set before the program is loaded.
const volatile u64 seed;  // secret, so that nobody can make names that collide
const volatile u32 mark;  // of self-queries, which have to reach the process
const volatile u32 buckets; // a power of two

// An entry is one answer. Go writes it while the program may read it: an odd sequence says that it is being written.
struct entry {
	u32 sequence;
	u16 server;     // number of the server that was asked
	u16 name_len;   // octets
	u64 stored;     // ns, CLOCK_MONOTONIC
	u64 expires;    // ns
	u64 hits;
	u32 type_class; // as in the packet
	u32 tail;       // what the answer depends on beside the question: flags, and what the OPT record says
	u64 counts;     // the four counts of the answer's header, as in the packet
	u16 flags;      // of the answer's header, as in the packet
	u16 answer_len; // octets behind the question
	u16 sum;        // of the octets behind the question
	u16 ttls;       // number of offsets in ttl
	u16 ttl[MAX_TTLS]; // offsets of the TTLs behind the question
	u8 name[MAX_NAME]; // in lower case, then zeros
	u8 answer[MAX_ANSWER];
};

// An address is one of IPv6, or one of IPv4 as ::ffff:a.b.c.d.
struct address {
	u32 words[4];
};

// A client is who asks, by which interface, and whom: the number of a server.
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
	__uint(max_entries, MAX_SERVERS);
	__type(key, u32); // the number of a server modulo MAX_SERVERS
	__type(value, u64); // until when the process answers there, in ns of CLOCK_MONOTONIC; 0: no more
} servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SERVERS);
	__type(key, struct address);
	__type(value, u32); // number of the server
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
	u64 fence; // see load_fence
	u32 busy;  // 1: a run of the program uses the scratch
	u8 packet[8 + DNS_HEADER + MAX_NAME + TYPE_CLASS + OPT + ZEROS]; // UDP header and message, then zeros
	u8 answer[MAX_ANSWER];
	u64 name[MAX_NAME / 8]; // in lower case, then zeros
	u16 ttl[MAX_TTLS];
};

_Static_assert(!(__builtin_offsetof(struct scratch, answer) & 7), "the answer is copied in words of eight octets");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

// A checksum says what is in the UDP header.
enum checksum {
	none,
	complete,
	partial, // of the pseudo-header alone: the device would do the rest
};

// Ends are who asks whom. They are not in a query, whose fields the compiler keeps in registers: these are keys of maps, in memory.
struct ends {
	struct address to;
	struct client from;
};

// A query is what has been read of a packet.
struct query {
	u64 mac;        // of the sender
	u64 pseudo;     // sum of the pseudo-header without the length
	u64 sum;        // of the UDP header and the message without the OPT record
	u64 hash;       // of the question and the tail
	u64 now;        // ns, CLOCK_MONOTONIC
	u32 l4;         // offset of the UDP header in the packet
	u32 len;        // octets from the UDP header on
	u32 question;   // octets
	u32 type_class; // as in the packet
	u32 tail;       // see entry
	enum checksum checksum;
	bool v6;
};

// A reply is what has been read of an entry. The octets behind the question are in scratch.answer.
struct reply {
	u64 counts;
	u64 stored;
	u32 flags;
	u32 len; // octets behind the question
	u32 sum; // of these octets
	u32 ttls;
	u32 place; // of the entry
};

// The sums are of little-endian words, which give the same checksum (RFC 1071, 2 (B)).

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

// less is what to add to a sum in order to take a folded one off.
static __always_inline u32 less(u32 sum)
{
	return 0xffff - sum;
}

// words4 adds the four words of an address.
static __always_inline u64 words4(const u32 *w)
{
	return (u64)w[0] + w[1] + w[2] + w[3];
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

// load_fence keeps loads before it from loads behind it. It returns true: an atomic operation without a use of its result would be
// no fence.
static __always_inline bool load_fence(struct scratch *s)
{
	return __sync_fetch_and_add(&s->fence, 1) != (u64)-1;
}

static __always_inline bool read_ipv4(struct __sk_buff *skb, struct query *q, struct ends *ends)
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
	if (fold(words4(w) + w[4]) != 0xffff)
		return false;
	ends->to.words[2] = ends->from.ip.words[2] = bpf_htonl(0xffff);
	ends->to.words[3] = ip->daddr;
	ends->from.ip.words[3] = ip->saddr;
	q->l4 = sizeof(struct ethhdr) + sizeof(*ip);
	q->len = length - sizeof(*ip);
	q->pseudo = (u64)ip->saddr + ip->daddr + bpf_htons(IPPROTO_UDP);
	return true;
}

// read_ipv6 refuses a packet to an IPv4-mapped address: in the maps, addresses and clients of IPv4 have that form.
static __always_inline bool read_ipv6(struct __sk_buff *skb, struct query *q, struct ends *ends)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	if ((void *)(ip + 1) > end)
		return false;
	__builtin_memcpy(&q->mac, ((struct ethhdr *)data)->h_source, ETH_ALEN);
	if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
		return false;
	q->l4 = sizeof(struct ethhdr) + sizeof(*ip);
	q->len = bpf_ntohs(ip->payload_len);
	if (q->len + q->l4 != skb->len)
		return false;
	__builtin_memcpy(ends->to.words, &ip->daddr, 16);
	__builtin_memcpy(ends->from.ip.words, &ip->saddr, 16);
	if (!ends->to.words[0] && !ends->to.words[1] && ends->to.words[2] == bpf_htonl(0xffff))
		return false;
	q->pseudo = words4(ends->to.words) + words4(ends->from.ip.words) + bpf_htons(IPPROTO_UDP);
	q->v6 = true;
	return true;
}

// read_ip reads the headers before that of UDP. A packet with a gso_size is several datagrams.
static __always_inline bool read_ip(struct __sk_buff *skb, struct query *q, struct ends *ends)
{
	if (skb->vlan_present || skb->pkt_type != PACKET_HOST || skb->mark == mark)
		return false;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!read_ipv4(skb, q, ends))
			return false;
	} else if (skb->protocol != bpf_htons(ETH_P_IPV6) || !read_ipv6(skb, q, ends)) {
		return false;
	}
	return q->len >= 8 + DNS_HEADER + 1 + TYPE_CLASS && q->len <= 8 + DNS_HEADER + MAX_NAME + TYPE_CLASS + OPT && !skb->gso_size;
}

// read_headers reads those of UDP and of the message. It copies all that follows to the scratch.
static __always_inline bool read_headers(struct __sk_buff *skb, struct query *q, struct scratch *s)
{
	if (bpf_skb_load_bytes(skb, q->l4, s->packet, q->len))
		return false;
	struct udphdr *udp = (struct udphdr *)s->packet;
	u8 *m = s->packet + 8;
	bool one_question = *(u32 *)(m + 4) == bpf_htonl(0x00010000) && !(*(u32 *)(m + 8) & ~bpf_htonl(1)); // and perhaps an OPT record
	bool plain = !(m[2] & ~0x01) && !(m[3] & ~0x30);                                                    // RD, AD and CD alone
	return udp->dest == bpf_htons(53) && udp->len == bpf_htons(q->len) && plain && one_question;
}

// is_served reports whether the process answers at the address that was asked.
static __always_inline bool is_served(struct query *q, struct ends *ends)
{
	u32 *number = bpf_map_lookup_elem(&addresses, &ends->to);
	if (!number)
		return false;
	ends->from.server = *number;
	u32 place = *number % MAX_SERVERS;
	u64 *until = bpf_map_lookup_elem(&servers, &place);
	q->now = bpf_ktime_get_ns();
	return until && *until > q->now;
}

// admitted returns the admission of the client; 0: it has none.
static __always_inline struct admission *admitted(struct __sk_buff *skb, const struct query *q, struct ends *ends)
{
	ends->from.interface = skb->ifindex;
	u32 *index = bpf_map_lookup_elem(&clients, &ends->from);
	if (!index)
		return 0;
	u32 slot = *index;
	struct admission *a = bpf_map_lookup_elem(&admissions, &slot);
	return a && a->until >= q->now && a->mac == q->mac ? a : 0;
}

// read_checksum returns false if the UDP checksum is wrong.
static __always_inline bool read_checksum(struct query *q, struct scratch *s)
{
	for (int i = 0; i < 8; i++)
		s->packet[q->len + i] = 0;
	q->sum = (u32)bpf_csum_diff(0, 0, (__be32 *)s->packet, (q->len + 3) & ~3, 0);
	u64 pseudo = q->pseudo + bpf_htons(q->len);
	u16 check = ((struct udphdr *)s->packet)->check;
	if (check == 0 && !q->v6)
		q->checksum = none;
	else if (fold(q->sum + pseudo) == 0xffff && check)
		q->checksum = complete;
	else if (check == fold(pseudo))
		q->checksum = partial;
	else
		return false;
	return true;
}

// read_opt reads the OPT record at the end of the message, and takes it off the sum.
static __always_inline bool read_opt(struct query *q, struct scratch *s)
{
	u32 question = q->question - OPT;
	if ((s32)question < 1 + TYPE_CLASS || question > MAX_NAME + TYPE_CLASS)
		return false;
	u8 *opt = s->packet + NAME_AT + question;
	if (opt[0] || opt[1] || opt[2] != TYPE_OPT || opt[5] || opt[6] || opt[7] & ~0x80 || opt[8] || opt[9] || opt[10])
		return false;
	q->tail |= (u32)(1 | opt[7] >> 6) << 8 | (u32)opt[3] << 16 | (u32)opt[4] << 24;
	u32 words = fold((opt[2] | (u32)opt[3] << 8) + opt[4] + ((u32)opt[7] << 8)); // little-endian words of an even offset
	q->sum += less(question & 1 ? swapped(words) : words);
	q->question = question;
	return true;
}

// read_question reads what is behind the header, and hashes it.
static __always_inline bool read_question(struct __sk_buff *skb, struct query *q, const struct ends *ends, struct scratch *s)
{
	u8 *m = s->packet + 8;
	q->tail = m[2] | m[3];
	q->question = q->len - 8 - DNS_HEADER;
	if (*(u32 *)(m + 8) && !read_opt(q, s))
		return false;
	u32 name_len = q->question - TYPE_CLASS;
	if (name_len < 1 || name_len > MAX_NAME)
		return false;
	__builtin_memcpy(&q->type_class, s->packet + NAME_AT + name_len, 4);
	u64 h = mix(mix(seed, (u64)ends->from.server << 32 | name_len), (u64)q->type_class << 32 | q->tail);
	// All of the 128 octets are hashed and compared: the verifier would go into each length.
#pragma unroll
	for (u32 i = 0; i < MAX_NAME / 8; i++)
		s->name[i] = 0;
	if (bpf_skb_load_bytes(skb, q->l4 + NAME_AT, s->name, name_len))
		return false;
#pragma unroll
	for (u32 i = 0; i < MAX_NAME / 8; i++) {
		u64 v = lower(s->name[i]);
		s->name[i] = v;
		h = mix(h, v);
	}
	q->hash = h;
	return true;
}

// fits reports whether an entry is the answer to the query.
static __always_inline bool fits(const struct entry *e, const struct query *q, u32 server, const struct scratch *s)
{
	if (e->server != server || e->type_class != q->type_class || e->tail != q->tail ||
	    e->name_len != q->question - TYPE_CLASS || e->expires <= q->now)
		return false;
	u64 different = 0;
#pragma unroll
	for (u32 i = 0; i < MAX_NAME / 8; i++)
		different |= s->name[i] ^ ((u64 *)e->name)[i];
	return !different;
}

// copy copies an entry. All of its octets are copied: the verifier would go into each length.
static __always_inline void copy(const struct entry *e, struct reply *r, struct scratch *s)
{
	r->counts = e->counts;
	r->stored = e->stored;
	r->flags = e->flags;
	r->len = e->answer_len;
	r->sum = e->sum;
	r->ttls = e->ttls;
#pragma unroll
	for (u32 i = 0; i < MAX_ANSWER / 8; i++)
		((u64 *)s->answer)[i] = ((u64 *)e->answer)[i];
#pragma unroll
	for (u32 i = 0; i < MAX_TTLS; i++)
		s->ttl[i] = e->ttl[i];
}

// find returns the entry with the answer to the query, and copies it; 0: there is none, or Go is writing it.
static __always_inline struct entry *find(const struct query *q, u32 server, struct reply *r, struct scratch *s)
{
	struct entry *e = 0;
	u32 sequence = 0;
	for (u32 way = 0; way < WAYS && !e; way++) {
		u32 place = (u32)(q->hash & (buckets - 1)) * WAYS + way;
		e = bpf_map_lookup_elem(&entries, &place);
		if (!e)
			return 0;
		r->place = place;
		sequence = *(volatile u32 *)&e->sequence;
		if (!load_fence(s) || sequence & 1 || !fits(e, q, server, s))
			e = 0;
	}
	if (!e)
		return 0;
	copy(e, r, s);
	if (!load_fence(s) || *(volatile u32 *)&e->sequence != sequence || r->len < 1 || r->len > MAX_ANSWER)
		return 0;
	return e;
}

// age takes the time since the answer was stored off its TTLs.
static __always_inline bool age(const struct query *q, struct reply *r, struct scratch *s)
{
	u32 seconds = q->now > r->stored ? (q->now - r->stored) / 1000000000 : 0;
	u64 sum = r->sum;
	if (!seconds)
		return true;
#pragma unroll
	for (u32 i = 0; i < MAX_TTLS; i++) {
		u32 off = s->ttl[i];
		if (i >= r->ttls)
			break;
		if (off > MAX_ANSWER - 4)
			return false;
		u32 ttl = 0, next;
		__builtin_memcpy(&ttl, s->answer + off, 4);
		next = bpf_htonl(bpf_ntohl(ttl) - seconds);
		__builtin_memcpy(s->answer + off, &next, 4);
		u32 turn = (off & 1) * 8;
		sum += less(turned(fold(ttl), turn)) + turned(fold(next), turn);
	}
	r->sum = fold(sum);
	return true;
}

// length is that of the answer from the UDP header on, in octets.
static __always_inline u32 length(const struct query *q, const struct reply *r)
{
	return NAME_AT + q->question + r->len;
}

// check_of returns the UDP checksum of the answer. The ports, the ID and the question are the query's, and in its sum.
static __always_inline u32 check_of(const struct query *q, const struct reply *r, const struct scratch *s)
{
	const struct udphdr *udp = (const struct udphdr *)s->packet;
	const u8 *m = s->packet + 8;
	u32 len = bpf_htons(length(q, r));
	u64 pseudo = q->pseudo + len;
	if (q->checksum == none)
		return 0;
	if (q->checksum == partial)
		return fold(pseudo);
	u64 counts = (u64)*(u32 *)(m + 4) + *(u32 *)(m + 8);
	u64 sum = q->sum + less(udp->check) + less(udp->len) + less(*(u16 *)(m + 2)) + less(fold(counts));
	sum += pseudo + len + r->flags + (u32)r->counts + (r->counts >> 32) + (q->question & 1 ? swapped(r->sum) : r->sum);
	u32 check = less(fold(sum));
	return check ? check : 0xffff;
}

static __always_inline void write_eth(struct ethhdr *eth)
{
	u8 mac[ETH_ALEN];
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

static __always_inline void *write_ipv4(struct iphdr *ip, const struct ends *ends, u32 len)
{
	ip->tos = 0;
	ip->tot_len = bpf_htons(len + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000); // DF
	ip->ttl = 64;
	ip->check = 0;
	ip->saddr = ends->to.words[3];
	ip->daddr = ends->from.ip.words[3];
	u32 *w = (u32 *)ip;
	ip->check = less(fold(words4(w) + w[4]));
	return ip + 1;
}

static __always_inline void *write_ipv6(struct ipv6hdr *ip, const struct ends *ends, u32 len)
{
	*(u32 *)ip = bpf_htonl(6 << 28);
	ip->payload_len = bpf_htons(len);
	ip->hop_limit = 64;
	__builtin_memcpy(&ip->saddr, ends->to.words, 16);
	__builtin_memcpy(&ip->daddr, ends->from.ip.words, 16);
	return ip + 1;
}

// write makes the packet, which has the answer's length, the answer. It returns false if the headers are not where they were.
static __always_inline bool write(struct __sk_buff *skb, const struct query *q, const struct ends *ends, const struct reply *r,
				  const struct scratch *s, u32 check)
{
	if (bpf_skb_store_bytes(skb, q->l4 + NAME_AT + q->question, s->answer, r->len, 0))
		return false;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	u32 len = length(q, r);
	struct udphdr *udp;
	if (data + sizeof(*eth) + sizeof(struct ipv6hdr) > end)
		return false;
	write_eth(eth);
	if (q->v6)
		udp = write_ipv6((void *)(eth + 1), ends, len);
	else
		udp = write_ipv4((void *)(eth + 1), ends, len);
	if ((void *)(udp + 1) + DNS_HEADER > end)
		return false;
	udp->dest = udp->source;
	udp->source = bpf_htons(53);
	udp->len = bpf_htons(len);
	udp->check = check;
	u8 *m = (u8 *)(udp + 1);
	*(u16 *)(m + 2) = r->flags;
	*(u32 *)(m + 4) = (u32)r->counts;
	*(u32 *)(m + 8) = r->counts >> 32;
	return true;
}

static __always_inline void count(struct entry *e, struct admission *client, const struct reply *r)
{
	__sync_fetch_and_add(&e->hits, 1);
	__sync_fetch_and_add(&client->hits, 1);
	if ((r->flags >> 8 & 0x0f) == RCODE_NXDOMAIN)
		__sync_fetch_and_add(&client->nxdomain, 1);
	client->last = r->place;
}

// answer answers a query of the usual form that an admitted client asks a server, and that there is an entry for.
static __always_inline int answer(struct __sk_buff *skb, struct query *q, struct ends *ends, struct scratch *s)
{
	if (!read_headers(skb, q, s) || !is_served(q, ends))
		return TCX_NEXT;
	struct admission *client = admitted(skb, q, ends);
	if (!client || !read_checksum(q, s) || !read_question(skb, q, ends, s))
		return TCX_NEXT;
	struct reply r = {};
	struct entry *e = find(q, ends->from.server, &r, s);
	if (!e || !age(q, &r, s))
		return TCX_NEXT;
	u32 check = check_of(q, &r, s);
	if (bpf_skb_change_tail(skb, q->l4 + length(q, &r), 0))
		return TCX_NEXT;
	if (!write(skb, q, ends, &r, s, check))
		return TCX_DROP; // the query is no more
	count(e, client, &r);
	return bpf_redirect(skb->ifindex, 0); // out by the interface that the query came in by
}

// nodelocaldns answers, or passes the packet on. A real-time kernel may run the program while another run on the same CPU stands still
// (PREEMPT_RT, Linux 6.18): the second finds the scratch busy.
SEC("tc")
int nodelocaldns(struct __sk_buff *skb)
{
	struct query q = {};
	struct ends ends = {};
	if (!read_ip(skb, &q, &ends))
		return TCX_NEXT;
	u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &zero);
	if (!s || __sync_lock_test_and_set(&s->busy, 1))
		return TCX_NEXT;
	int verdict = answer(skb, &q, &ends, s);
	*(volatile u32 *)&s->busy = 0;
	return verdict;
}
