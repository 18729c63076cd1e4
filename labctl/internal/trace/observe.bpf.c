//go:build ignore

/* Every change of a TCP socket's state in the hosts that are watched, and every RST,
 * as records in a ring buffer. What a record means is worked out by its reader (tracker.go); here
 * they are only taken down, as cheaply as can be: most calls come from sockets and
 * timers of others, and go away after one comparison.
 *
 * Only tracepoints are used, and an iterator: they need no kprobes and no fentry. */

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

/* bpf_get_socket_cookie and reading kernel memory are for GPL programs. */
char LICENSE[] SEC("license") = "GPL";

enum { AF_INET = 2, AF_INET6 = 10, IPPROTO_TCP = 6, SYN_RECV = 3, TIME_WAIT = 6, LISTEN = 10, NEW_SYN_RECV = 12 };

/* What a record is about. The numbers are those of record.go. */
enum kind {
	STATE = 1,      /* a full socket changed its state */
	TW_START,       /* a minisocket's timer was armed: its birth, or again */
	TW_CANCEL,      /* it was taken out of the timer wheel */
	TW_EXPIRE,      /* it fired */
	TW_SEGMENT,     /* a segment reached a minisocket and was done with */
	REQUEST_START,  /* the same of a request socket's: SYN_RECV */
	REQUEST_CANCEL,
	REQUEST_EXPIRE,
	RESET_RECEIVED, /* a full socket received an RST that it accepts */
	RESET_SENT,     /* an RST went out */
};

struct record {
	__u64 time;    /* CLOCK_MONOTONIC, ns */
	__u64 net;     /* the host: its network namespace's cookie */
	__u64 cookie;  /* the socket; 0 if the kernel has given it none yet */
	__u64 object;  /* its address in the kernel, which is used again when it is freed */
	__s64 left;    /* TW_START: jiffies until the wheel lets it fire, 0 if not known */
	__u16 family, local_port, remote_port;
	__u8 kind, from, to;
	__u8 reason;   /* RESET_SENT: enum sk_rst_reason, whose numbers differ by kernel */
	__u8 unused[6];
	__u8 local[16], remote[16]; /* IPv4 in the first four bytes */
};

/* Keeps the type in the object's BTF, for the test of the layout. */
const struct record *record_type __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* set when it is loaded */
} records SEC(".maps");

/* The network namespaces that are watched, by cookie. An inode number would be
 * used again for another one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 14);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u8);
} watched SEC(".maps");

/* By namespace, the records that found no room. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 14);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} lost SEC(".maps");

/* Addresses of the kernel's timer functions: see handlers.go. */
volatile const __u64 tw_timer_handler;
volatile const __u64 reqsk_timer_handler;

/* Whether timer_start tells the wheel's bucket: before Linux 6.9 its second argument is
 * the time that was asked for, from which a timer may fire seconds later. */
volatile const bool start_tells_bucket;
/* Whether the reader is woken for records, or looks by itself. */
volatile const bool wakes_reader;
/* Whether tcp_send_reset tells why: since Linux 6.10. */
volatile const bool reset_tells_reason;

static __always_inline bool is_watched(__u64 net)
{
	return bpf_map_lookup_elem(&watched, &net) != NULL;
}

static __always_inline void count_loss(__u64 net)
{
	__u64 one = 1, *n = bpf_map_lookup_elem(&lost, &net);

	if (n)
		__sync_fetch_and_add(n, 1);
	else if (bpf_map_update_elem(&lost, &net, &one, BPF_NOEXIST)) {
		n = bpf_map_lookup_elem(&lost, &net); /* another CPU was first */
		if (n)
			__sync_fetch_and_add(n, 1);
	}
}

/* Takes room for a record of a host, or NULL: another's, or no room. */
static __always_inline struct record *take(__u64 net, __u8 kind)
{
	struct record *r;

	if (!is_watched(net))
		return NULL;
	r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);
	if (!r) {
		count_loss(net);
		return NULL;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->time = bpf_ktime_get_ns();
	r->net = net;
	r->kind = kind;
	return r;
}

/* Notes which socket a record is about. */
static __always_inline void about(struct record *r, const struct sock_common *c)
{
	r->object = (__u64)c;
	r->cookie = BPF_CORE_READ(c, skc_cookie.counter);
	r->family = BPF_CORE_READ(c, skc_family);
	r->local_port = BPF_CORE_READ(c, skc_num);
	r->remote_port = bpf_ntohs(BPF_CORE_READ(c, skc_dport));
	if (r->family == AF_INET6) {
		BPF_CORE_READ_INTO(&r->local, c, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&r->remote, c, skc_v6_daddr);
	} else {
		BPF_CORE_READ_INTO((__be32 *)r->local, c, skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)r->remote, c, skc_daddr);
	}
}

/* Takes room for a record about c, or NULL. */
static __always_inline struct record *begin(const struct sock_common *c, __u8 kind)
{
	struct record *r = take(BPF_CORE_READ(c, skc_net.net, net_cookie), kind);

	if (r)
		about(r, c);
	return r;
}

/* The reader looks every few milliseconds: waking it for each record would
 * cost more than all the rest. */
static __always_inline void commit(struct record *r)
{
	bpf_ringbuf_submit(r, wakes_reader ? 0 : BPF_RB_NO_WAKEUP);
}

/* The port that a full socket has, or had: a client's is given back, and skc_num
 * cleared, before CLOSE is set (tcp_set_state); inet_sport stays. */
static __always_inline __u16 own_port(const struct sock *sk, __u16 num)
{
	__u16 port = bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));

	return port ? port : num;
}

/* begin, for a full socket that a tracepoint gives: its fields are loaded and not
 * copied by a helper each, which would cost several times as much. Without a cookie. */
static __always_inline struct record *begin_full(struct sock *sk, __u8 kind)
{
	struct sock_common *c = &sk->__sk_common;
	struct record *r = take(c->skc_net.net->net_cookie, kind);

	if (!r)
		return NULL;
	r->object = (__u64)c;
	r->family = c->skc_family;
	r->local_port = own_port(sk, c->skc_num);
	r->remote_port = bpf_ntohs(c->skc_dport);
	if (r->family == AF_INET6) {
		__be32 *local = (__be32 *)r->local, *remote = (__be32 *)r->remote;

		local[0] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		local[1] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		local[2] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		local[3] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		remote[0] = c->skc_v6_daddr.in6_u.u6_addr32[0];
		remote[1] = c->skc_v6_daddr.in6_u.u6_addr32[1];
		remote[2] = c->skc_v6_daddr.in6_u.u6_addr32[2];
		remote[3] = c->skc_v6_daddr.in6_u.u6_addr32[3];
	} else {
		*(__be32 *)r->local = c->skc_rcv_saddr;
		*(__be32 *)r->remote = c->skc_daddr;
	}
	return r;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(observe_state, struct sock *sk, int from, int to)
{
	struct record *r;

	if (sk->sk_protocol != IPPROTO_TCP || from == to)
		return 0;
	r = begin_full(sk, STATE);
	if (!r)
		return 0;
	r->from = from;
	r->to = to;
	/* A child is cloned in LISTEN and takes its cookie from its request
	 * socket only after it has been set to SYN_RECV (inet_csk_clone_lock). */
	if (from != LISTEN || to != SYN_RECV)
		r->cookie = bpf_get_socket_cookie(sk);
	commit(r);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(observe_reset_received, struct sock *sk)
{
	struct record *r = begin_full(sk, RESET_RECEIVED);

	if (!r)
		return 0;
	r->from = r->to = sk->__sk_common.skc_state;
	r->cookie = bpf_get_socket_cookie(sk);
	commit(r);
	return 0;
}

/* Notes the ends of a segment that reached the host, its own one being local. */
static __always_inline void ends_of(struct record *r, const struct sk_buff *skb)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	unsigned char *ip = head + BPF_CORE_READ(skb, network_header);
	unsigned char *tcp = head + BPF_CORE_READ(skb, transport_header);
	__u8 version = 0;
	__be16 ports[2] = {};

	bpf_probe_read_kernel(&version, sizeof(version), ip);
	if (version >> 4 == 6) {
		r->family = AF_INET6;
		bpf_probe_read_kernel(r->remote, 16, ip + 8);
		bpf_probe_read_kernel(r->local, 16, ip + 24);
	} else {
		r->family = AF_INET;
		bpf_probe_read_kernel(r->remote, 4, ip + 12);
		bpf_probe_read_kernel(r->local, 4, ip + 16);
	}
	bpf_probe_read_kernel(ports, sizeof(ports), tcp);
	r->remote_port = bpf_ntohs(ports[0]);
	r->local_port = bpf_ntohs(ports[1]);
}

/* Either may be NULL: the socket of an RST from a closed port, and the segment that
 * is answered if the host resets by itself. A raw tracepoint, since in tp_btf some
 * kernels take every argument for a pointer to something and leave out the test. */
SEC("raw_tp/tcp_send_reset")
int observe_reset_sent(__u64 *ctx)
{
	const struct sock *sk = (void *)ctx[0];
	const struct sk_buff *skb = (void *)ctx[1];
	const struct sock_common *c = &sk->__sk_common;
	struct record *r;

	if (sk)
		r = begin(c, RESET_SENT);
	else
		r = take(BPF_CORE_READ(skb, dev, nd_net.net, net_cookie), RESET_SENT);
	if (!r)
		return 0;
	if (sk) {
		r->from = r->to = BPF_CORE_READ(c, skc_state);
		if (r->from != TIME_WAIT)
			r->local_port = own_port(sk, r->local_port);
	}
	if (skb && r->remote_port == 0) /* of no connection: a listener's, or nobody's */
		ends_of(r, skb);
	if (reset_tells_reason) /* to read what is not there would keep it from being attached */
		r->reason = ctx[2];
	commit(r);
	return 0;
}

/* A timer's step in the life of a minisocket or a request socket, which are known
 * by the function that their timer calls. */
static __always_inline int timer(struct timer_list *t, __u8 tw_kind, __u8 request_kind, __u64 bucket)
{
	__u64 function = (__u64)t->function;
	struct record *r;

	if (function == tw_timer_handler) {
		struct inet_timewait_sock *tw = (void *)t - bpf_core_field_offset(struct inet_timewait_sock, tw_timer);

		r = begin(&tw->__tw_common, tw_kind);
		if (!r)
			return 0;
		r->from = r->to = BPF_CORE_READ(tw, tw_substate);
		if (bucket)
			r->left = (__s64)(bucket - bpf_jiffies64());
		commit(r);
	} else if (function == reqsk_timer_handler) {
		struct request_sock *req = (void *)t - bpf_core_field_offset(struct request_sock, rsk_timer);

		r = begin(&req->__req_common, request_kind);
		if (!r)
			return 0;
		commit(r);
	}
	return 0;
}

SEC("tp_btf/timer_start")
int BPF_PROG(observe_timer_start, struct timer_list *t, unsigned long bucket)
{
	return timer(t, TW_START, REQUEST_START, start_tells_bucket ? bucket : 0);
}

SEC("tp_btf/timer_cancel")
int BPF_PROG(observe_timer_cancel, struct timer_list *t)
{
	return timer(t, TW_CANCEL, REQUEST_CANCEL, 0);
}

SEC("tp_btf/timer_expire_entry")
int BPF_PROG(observe_timer_expire, struct timer_list *t)
{
	return timer(t, TW_EXPIRE, REQUEST_EXPIRE, 0);
}

/* A FIN turns a FIN_WAIT2 minisocket into TIME_WAIT and arms its timer again. If the
 * new time falls into the same bucket of the wheel no timer tracepoint tells
 * (__mod_timer); but the segment is then thrown away, as all are that minisockets
 * receive, and since Linux 6.11 with it goes the socket (tcp_v4_rcv, do_time_wait). */
SEC("tp_btf/kfree_skb")
int BPF_PROG(observe_segment, struct sk_buff *skb, void *location, int reason, struct sock *sk)
{
	struct inet_timewait_sock *tw = (void *)sk;
	struct record *r;

	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_state) != TIME_WAIT)
		return 0;
	r = begin(&tw->__tw_common, TW_SEGMENT);
	if (!r)
		return 0;
	r->from = r->to = BPF_CORE_READ(tw, tw_substate);
	commit(r);
	return 0;
}

/* What the kernel's memory holds of a socket that has a port, and no other interface
 * tells: see bind.go, which has the numbers' meaning. */
struct binding {
	__u64 cookie;
	__u32 uid;                       /* the bucket's */
	__u8 reuse, reuseport;           /* the socket's */
	__s8 fastreuse, fastreuseport;   /* the bucket's */
	__u8 has_bucket;
	__u8 unused[7];
};
const struct binding *binding_type __attribute__((unused));

/* Not attached to anything: it runs when its file is read, once for each socket of
 * the reader's network namespace. */
SEC("iter/tcp")
int tell_binding(struct bpf_iter__tcp *ctx)
{
	struct sock_common *c = ctx->sk_common;
	struct inet_bind_bucket *bucket;
	struct binding b = {};

	if (!c || BPF_CORE_READ(c, skc_state) == NEW_SYN_RECV) /* a request socket has no port */
		return 0;
	b.cookie = BPF_CORE_READ(c, skc_cookie.counter);
	b.reuse = BPF_CORE_READ_BITFIELD_PROBED(c, skc_reuse);
	b.reuseport = BPF_CORE_READ_BITFIELD_PROBED(c, skc_reuseport);
	if (BPF_CORE_READ(c, skc_state) == TIME_WAIT)
		bucket = BPF_CORE_READ((struct inet_timewait_sock *)c, tw_tb);
	else
		bucket = BPF_CORE_READ((struct inet_connection_sock *)c, icsk_bind_hash);
	if (bucket) {
		b.has_bucket = 1;
		b.fastreuse = BPF_CORE_READ(bucket, fastreuse);
		b.fastreuseport = BPF_CORE_READ(bucket, fastreuseport);
		b.uid = BPF_CORE_READ(bucket, fastuid.val);
	}
	bpf_seq_write(ctx->meta->seq, &b, sizeof(b));
	return 0;
}

/* The function that a socket's timer calls. */
struct handler {
	__u64 state;
	__u64 function;
};
const struct handler *handler_type __attribute__((unused));

/* Not attached either: for kernels that hide their addresses from whoever loads
 * this, it reads them from the timers of sockets that were made for that. */
SEC("iter/tcp")
int tell_handler(struct bpf_iter__tcp *ctx)
{
	struct sock_common *c = ctx->sk_common;
	struct handler h = {};

	if (!c)
		return 0;
	h.state = BPF_CORE_READ(c, skc_state);
	if (h.state == TIME_WAIT)
		h.function = (__u64)BPF_CORE_READ((struct inet_timewait_sock *)c, tw_timer.function);
	else if (h.state == NEW_SYN_RECV)
		h.function = (__u64)BPF_CORE_READ((struct request_sock *)c, rsk_timer.function);
	else
		return 0;
	bpf_seq_write(ctx->meta->seq, &h, sizeof(h));
	return 0;
}
