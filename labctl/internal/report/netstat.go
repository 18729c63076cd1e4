package report

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"unicode/utf8"

	"restartlab/labctl/internal/journal"
)

// Netstat prints a socket table in the columns of `netstat -ant` and one more
// for the time left on the running timer. Columns are as wide as their widest
// entry: no address is ever cut short.
func Netstat(w io.Writer, rows []journal.Socket) error {
	table := [][]string{netstatHead()}
	for _, r := range rows {
		table = append(table, netstatRow(r))
	}
	var width [7]int
	for _, row := range table {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	b := bufio.NewWriter(w)
	for _, row := range table {
		fmt.Fprintf(b, "%-*s %*s %*s %-*s %-*s ", width[0], row[0], width[1], row[1], width[2], row[2],
			width[3], row[3], width[4], row[4])
		if row[6] == "" { // no blanks at a line's end
			fmt.Fprintln(b, row[5])
		} else {
			fmt.Fprintf(b, "%-*s %s\n", width[5], row[5], row[6])
		}
	}
	if len(rows) == 0 {
		fmt.Fprintln(b, "(no sockets)")
	}
	return b.Flush()
}

func netstatHead() []string {
	return []string{"Proto", "Recv-Q", "Send-Q", "Local Address", "Foreign Address", "State", "Timer"}
}

func netstatRow(r journal.Socket) []string {
	return []string{
		clean(r.Family), strconv.FormatUint(uint64(r.RecvQ), 10), strconv.FormatUint(uint64(r.SendQ), 10),
		netstatAddress(r.Local, r.Family), netstatAddress(r.Remote, r.Family), clean(r.State), clean(timer(r)),
	}
}

// netstatAddress writes IPv6 without brackets and an absent port as *, as
// netstat does: ":::12500", "0.0.0.0:*".
func netstatAddress(a netip.AddrPort, family string) string {
	ip, port := a.Addr(), "*"
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
		if family == "tcp6" {
			ip = netip.IPv6Unspecified()
		}
	}
	if a.Port() != 0 {
		port = strconv.Itoa(int(a.Port()))
	}
	return ip.String() + ":" + port
}

// timer names the kernel timer that runs on a socket and what is left of it.
// TIME_WAIT's own needs no name.
func timer(r journal.Socket) string {
	if r.TimeLeft == nil {
		return r.Timer
	}
	left := seconds(*r.TimeLeft)
	if r.Timer == "" || r.Timer == "timewait" {
		return left
	}
	return r.Timer + " " + left
}

func seconds(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) }
