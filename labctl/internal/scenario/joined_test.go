package scenario

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, s := range texts {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// On joined hosts the file's addresses mean those that were found, and all else
// is as in the file.
func TestJoined(t *testing.T) {
	const text = `
name: mapped
programs:
  all:   {host: server, server: {address: 0.0.0.0}}
  own:   {host: server, server: {address: 192.168.44.144, port: 1}}
  guest: {host: client, client: {address: server}}
  six:   {host: client, client: {address: "2001:db8:44::144"}}
  self:  {host: client, client: {address: 127.0.0.1}}
  other: {host: client, client: {address: 203.0.113.9}}
steps:
  - start: all
`
	s, err := Load("mapped.yaml", []byte(text), Settings{Joined: map[string][]netip.Prefix{
		"server": prefixes("172.18.0.2/16", "fd00::2/64"), "client": prefixes("172.18.0.3/16", "172.18.0.4/16")}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, h := range s.Labs[0].Hosts {
		got[h.Name] = prefixTexts(h)
	}
	for _, p := range s.Labs[0].Programs {
		if p.Server != nil {
			got[p.Name] = p.Server.Address.String()
		} else {
			got[p.Name] = p.Client.Address.String()
		}
	}
	want := map[string]string{
		"server": "172.18.0.2/16, fd00::2/64", "client": "172.18.0.3/16, 172.18.0.4/16",
		"all": "0.0.0.0", "own": "172.18.0.2", "guest": "172.18.0.2", "six": "fd00::2", "self": "127.0.0.1", "other": "203.0.113.9",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// What would change a joined host is refused, with its place.
func TestJoinedRefuses(t *testing.T) {
	both := map[string][]netip.Prefix{"server": prefixes("172.18.0.2/16"), "client": prefixes("172.18.0.3/16")}
	for name, c := range map[string]struct {
		hosts map[string][]netip.Prefix
		text  string
		want  string
	}{
		"settings": {both, "hosts:\n  server: {sysctls: {net.ipv4.tcp_fin_timeout: 5}}\n  client: {}\nsteps:\n  - netstat: server\n",
			"x.yaml:3:12: server is joined, and no kernel setting is changed"},
		"sysctl": {both, "steps:\n  - sysctl: {host: server, values: {net.ipv4.tcp_fin_timeout: 5}}\n",
			"x.yaml:3:5: sysctl changes a host"},
		"link":    {both, "steps:\n  - link: {host: server, state: down}\n", "x.yaml:3:5: link changes a host"},
		"missing": {map[string][]netip.Prefix{"server": both["server"]}, "steps:\n  - netstat: server\n", "add client=PID"},
		"unknown": {map[string][]netip.Prefix{"server": both["server"], "client": both["client"], "clint": nil},
			"steps:\n  - netstat: server\n", "the scenario has no host \"clint\"; did you mean \"client\"?"},
		"no IPv6": {both, "programs:\n  six: {host: client, client: {address: \"2001:db8:44::144\"}}\nsteps:\n  - run: six\n",
			"x.yaml:3:41: 2001:db8:44::144 is an address of server, and the joined server has none such: it has 172.18.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load("x.yaml", []byte("name: x\n"+c.text), Settings{Joined: c.hosts})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant ... %s ...", err, c.want)
			}
		})
	}
}

// Every verb either leaves hosts as they are or is refused on joined ones: who
// adds one must say which.
func TestJoinedKnowsEveryVerb(t *testing.T) {
	leaves := []string{VerbStart, VerbRun, VerbStop, VerbSignal, VerbWait, VerbNetstat, "repeat",
		VerbBind, VerbListen, VerbConnect, VerbAccept, VerbSend, VerbRecv, VerbShutdown, VerbClose, VerbSetsockopt,
		VerbInherit, VerbPass, VerbDestroy}
	known := map[string]bool{}
	for _, v := range leaves {
		known[v] = true
		if changesHost[v] {
			t.Errorf("%s is in both lists", v)
		}
	}
	for _, v := range verbNames() {
		if !known[v] && !changesHost[v] {
			t.Errorf("does %s change a host? put it into changesHost, or into this test", v)
		}
	}
}
