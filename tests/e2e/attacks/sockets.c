/* Socket families and netlink. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif
#ifndef AF_XDP
#define AF_XDP 44
#endif

static int make(int family, int type, int protocol) { return outcome(socket(family, type, protocol)); }

static int vsock(void) { return make(AF_VSOCK, SOCK_STREAM, 0); }
static int vsock_high(void) { return outcome(syscall(SYS_socket, 0xdead00000000ul | AF_VSOCK, SOCK_STREAM, 0)); }
static int packet_raw(void) { return make(AF_PACKET, SOCK_RAW, htons(3)); }
static int packet_dgram(void) { return make(AF_PACKET, SOCK_DGRAM, htons(3)); }
static int packet_cloexec(void) { return make(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(3)); }
static int xdp(void) { return make(AF_XDP, SOCK_RAW, 0); }
static int alg(void) { return make(AF_ALG, SOCK_SEQPACKET, 0); }
static int key(void) { return make(AF_KEY, SOCK_RAW, 2); }
static int can(void) { return make(AF_CAN, SOCK_RAW, 1); }
static int tipc_pair(void) {
    int ends[2];
    return outcome(socketpair(AF_TIPC, SOCK_SEQPACKET, 0, ends));
}
static int raw_icmp(void) { return make(AF_INET, SOCK_RAW, IPPROTO_ICMP); }
static int raw_ip(void) { return make(AF_INET, SOCK_RAW, IPPROTO_RAW); }
static int raw_icmp6(void) { return make(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6); }
static int sctp(void) { return make(AF_INET, SOCK_STREAM, IPPROTO_SCTP); }
static int udp_lite(void) { return make(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE); }
static int netlink_audit(void) { return make(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT); }
static int netlink_uevent(void) { return make(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT); }
static int netlink_generic(void) { return make(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC); }
static int netlink_netfilter(void) { return make(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER); }
static int netlink_diag(void) { return make(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG); }
static int netlink_xfrm(void) { return make(AF_NETLINK, SOCK_RAW, NETLINK_XFRM); }

/* One rtnetlink request; 0 or the errno in its acknowledgement. */
static int ask_route(struct nlmsghdr *head) {
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (fd < 0 || send(fd, head, head->nlmsg_len, 0) < 0)
        return errno;
    char buffer[8192];
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    struct nlmsghdr *reply = (struct nlmsghdr *)buffer;
    if (got < (ssize_t)sizeof *reply)
        return EPROTO;
    return reply->nlmsg_type == NLMSG_ERROR ? -((struct nlmsgerr *)NLMSG_DATA(reply))->error : 0;
}
static int route_read(void) {
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
    } request = {{sizeof request, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {.ifi_family = AF_UNSPEC}};
    return ask_route(&request.head);
}
static int route_change(void) {
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
    } request = {{sizeof request, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
                 {.ifi_family = AF_UNSPEC, .ifi_index = 1, .ifi_flags = 0, .ifi_change = IFF_UP}};
    return ask_route(&request.head);
}

#define A(name) {#name, name}
static const struct attack attacks[] = {
    A(vsock), A(vsock_high), A(packet_raw), A(packet_dgram), A(packet_cloexec), A(xdp), A(alg), A(key), A(can),
    A(tipc_pair), A(raw_icmp), A(raw_ip), A(raw_icmp6), A(sctp), A(udp_lite), A(netlink_audit), A(netlink_uevent),
    A(netlink_generic), A(netlink_netfilter), A(netlink_diag), A(netlink_xfrm), A(route_read), A(route_change),
};

MAIN(attacks)
