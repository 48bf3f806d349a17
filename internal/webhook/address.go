package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// ErrAddress is the error of a call to an address that is not on the public
// internet.
var ErrAddress = errors.New("not a public address")

// unreachable are the IPv4 networks that are nobody's on the public internet, by
// the registry of special-purpose addresses (RFC 6890 and its successors).
var unreachable = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")

// Of IPv6 only what is assigned to networks is public, without the parts that
// stand for IPv4 addresses (6to4, Teredo) or for documents.
var (
	assigned = netip.MustParsePrefix("2000::/3")
	withheld = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

// Public reports whether an address may be called. Loopback, private, link-local
// (where clouds keep their metadata), shared, multicast and reserved ones may not,
// nor may IPv6 addresses that stand for an IPv4 address.
func Public(a netip.Addr) bool {
	within := func(list []netip.Prefix) bool {
		for _, p := range list {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	switch {
	case !a.IsValid() || a.Zone() != "":
		return false
	case a.Is4():
		return !within(unreachable)
	}
	return assigned.Contains(a) && !within(withheld)
}

// Allow is the rule of the client that calls endpoints. It is asked about each
// address that is dialled, after names were resolved, so that a name which
// changes its address between a check and the call gains nothing.
func Allow(to netip.AddrPort) error {
	if !Public(to.Addr()) {
		return fmt.Errorf("%w: %s", ErrAddress, to.Addr())
	}
	return nil
}

// CheckURL says what is wrong with an endpoint's URL: it is https with a host that
// may be public, and carries no password. local lets http and this machine pass,
// for development.
func CheckURL(raw string, local bool) error {
	if len(raw) > 2000 {
		return errors.New("at most 2000 characters")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return errors.New("want a URL like https://shop.example/hooks")
	case u.Scheme != "https" && (u.Scheme != "http" || !local):
		return errors.New("want https")
	case u.User != nil:
		return errors.New("a URL with a password is not kept: the signature proves who calls")
	case u.Fragment != "":
		return errors.New("a fragment is never sent")
	case local:
		return nil
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if a, err := netip.ParseAddr(host); err == nil {
		if !Public(a) {
			return ErrAddress
		}
		return nil
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == host || last == "localhost" || last == "local" || last == "internal" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return errors.New("want a host with a public name")
	}
	return nil
}
