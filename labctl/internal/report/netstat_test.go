package report

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

func TestNetstat(t *testing.T) {
	at := netip.MustParseAddrPort
	left := func(ms int64) *int64 { return &ms }
	tests := []struct {
		name string
		rows []journal.Socket
		want string
	}{
		{"nothing", nil, `
Proto Recv-Q Send-Q Local Address Foreign Address State Timer
(no sockets)
`},
		{"the article's", []journal.Socket{
			{Family: "tcp", State: "LISTEN", Local: at("0.0.0.0:12500"), SendQ: 16},
			{Family: "tcp", State: "TIME_WAIT", Local: at("192.168.44.144:12500"), Remote: at("192.168.44.145:52656"), Timer: "timewait", TimeLeft: left(59_940)},
		}, `
Proto Recv-Q Send-Q Local Address        Foreign Address      State     Timer
tcp        0     16 0.0.0.0:12500        0.0.0.0:*            LISTEN
tcp        0      0 192.168.44.144:12500 192.168.44.145:52656 TIME_WAIT 59.9 s
`},
		{"IPv6, other timers, full queues", []journal.Socket{
			{Family: "tcp6", State: "LISTEN", Local: at("[::]:12500")},
			{Family: "tcp6", State: "ESTABLISHED", Local: at("[2001:db8:1111:2222:3333:4444:5555:6666]:12500"), Remote: at("[::ffff:192.168.44.145]:1"),
				RecvQ: 1234567, SendQ: 4000000000, Timer: "retransmit", TimeLeft: left(200)},
			{Family: "tcp6", State: "FIN_WAIT1", Local: at("[::1]:12500"), Remote: at("[::1]:2"), Timer: "probe"},
			{Family: "tcp", State: "BOUND", Local: at("127.0.0.1:12500"), Remote: at("0.0.0.0:0")},
		}, `
Proto  Recv-Q     Send-Q Local Address                                Foreign Address         State       Timer
tcp6        0          0 :::12500                                     :::*                    LISTEN
tcp6  1234567 4000000000 2001:db8:1111:2222:3333:4444:5555:6666:12500 ::ffff:192.168.44.145:1 ESTABLISHED retransmit 0.2 s
tcp6        0          0 ::1:12500                                    ::1:2                   FIN_WAIT1   probe
tcp         0          0 127.0.0.1:12500                              0.0.0.0:*               BOUND
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			if err := Netstat(&b, test.rows); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
