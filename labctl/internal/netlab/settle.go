package netlab

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// settle returns when the kernel has done what it does by itself, later, after
// a change of links and addresses. A SYN sent before that is lost, and the
// next goes out a second later. There are two such things:
//
//   - linkwatch takes note of a carrier that came or went, and attaches the
//     queue. RTM_GETLINK makes it do so at once (linkwatch_sync_dev); on
//     kernels where it does not, the operational state shows when it is done.
//   - the addrconf workqueue enters the route to a new IPv6 address of the
//     host's own.
//
// joined says that both ends are up, so that each must get a carrier; without
// it, each must lose it.
func (h *Host) settle(s *socket, joined bool) error {
	done, err := h.settled(s, joined)
	if done || err != nil {
		return err
	}
	// Listen first, then look again, then wait: no change falls between.
	if err := s.listen(unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_ROUTE); err != nil {
		return fmt.Errorf("listen for changes on host %s: %w", h.name, err)
	}
	for {
		s.news = false
		done, err := h.settled(s, joined)
		if done || err != nil {
			return err
		}
		if s.news {
			continue
		}
		if _, _, err := s.receive(); err != nil {
			return fmt.Errorf("%s did not settle within %v: %w", h.end, answerTime, err)
		}
	}
}

func (h *Host) settled(s *socket, joined bool) (bool, error) {
	questions := []request{getLink(h.end)}
	for _, p := range h.addresses {
		if !p.Addr().Is4() {
			questions = append(questions, getRoute(h.end, p.Addr()))
		}
	}
	answers, err := s.ask(questions...)
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		answers, err = s.ask(questions[0]) // no route at all yet
		if err != nil || len(answers) != 1 || isUp(answers[0]) {
			return false, err
		}
	case err != nil:
		return false, err
	}
	up := false
	for _, m := range answers {
		switch m.Header.Type {
		case unix.RTM_NEWLINK:
			up = isUp(m)
			if h.peer != nil && hasCarrier(m) != joined {
				return false, nil
			}
		case unix.RTM_NEWROUTE:
			if up && !isLocal(m) {
				return false, nil
			}
		}
	}
	return true, nil
}

// isUp reports whether a link was set up by its owner.
func isUp(m syscall.NetlinkMessage) bool {
	return len(m.Data) >= unix.SizeofIfInfomsg && nl.DeserializeIfInfomsg(m.Data).Flags&unix.IFF_UP != 0
}

// hasCarrier reports whether a link's operational state is up (RFC 2863).
func hasCarrier(m syscall.NetlinkMessage) bool {
	const operUp = 6 // IF_OPER_UP of linux/if.h
	if len(m.Data) < unix.SizeofIfInfomsg {
		return false
	}
	attributes, err := nl.ParseRouteAttr(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return false
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.IFLA_OPERSTATE && len(a.Value) == 1 {
			return a.Value[0] == operUp
		}
	}
	return false
}

// isLocal reports whether a route leads to an address of the host's own.
func isLocal(m syscall.NetlinkMessage) bool {
	return len(m.Data) >= unix.SizeofRtMsg && nl.DeserializeRtMsg(m.Data).Type == unix.RTN_LOCAL
}
