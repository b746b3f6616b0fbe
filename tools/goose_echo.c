/* The least that a frame in and a frame out can cost: sends back every frame that comes in on an interface,
 * with its own source address. Says "ready" once it listens. What `flisr bench reaction` measures agents beside.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* The kernel takes the 802.1Q tag out of what we receive; the answer is to be as long as the request was. */
enum { TAG = 4, LONGEST = 2048 };

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	static unsigned char frame[LONGEST];
	unsigned char own[ETH_ALEN];
	struct ifreq request = {0};
	struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int one = 1;

	if (argc != 2 || strlen(argv[1]) >= sizeof request.ifr_name) {
		fputs("usage: goose_echo INTERFACE\n", stderr);
		return 2;
	}
	strcpy(request.ifr_name, argv[1]);
	/* Protocol 0: nothing is received before it is bound. */
	int link = socket(AF_PACKET, SOCK_RAW, 0);
	if (link < 0)
		return fail("socket");
	if (ioctl(link, SIOCGIFHWADDR, &request) < 0)
		return fail(argv[1]);
	memcpy(own, request.ifr_hwaddr.sa_data, sizeof own);
	place.sll_ifindex = (int)if_nametoindex(argv[1]);
	if (setsockopt(link, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) < 0)
		return fail("PACKET_IGNORE_OUTGOING");
	if (bind(link, (struct sockaddr *)&place, sizeof place) < 0)
		return fail("bind");
	puts("ready");
	fflush(stdout);
	for (;;) {
		ssize_t length = recv(link, frame, sizeof frame - TAG, 0);
		if (length < ETH_HLEN)
			return fail("recv");
		memcpy(frame + ETH_ALEN, own, sizeof own);
		if (send(link, frame, (size_t)length + TAG, 0) < 0)
			return fail("send");
	}
}
