package webhook

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPublic_IsOnlyWhatTheInternetRoutes(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"8.8.8.8", "190.98.210.1", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "2606:4700:4700::1111", "2800:3f0:4001:810::200e", "2a00::1"} {
		require.True(t, Public(netip.MustParseAddr(a)), a)
		require.NoError(t, Allow(netip.AddrPortFrom(netip.MustParseAddr(a), 443)), a)
	}
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1",
		"192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2001:10::1",
		"2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "ff02::1", "4000::1",
	} {
		require.False(t, Public(netip.MustParseAddr(a)), a)
		require.ErrorIs(t, Allow(netip.AddrPortFrom(netip.MustParseAddr(a), 443)), ErrAddress, a)
	}
	require.False(t, Public(netip.Addr{}))
}

func TestCheckURL_TakesHTTPSWithAPublicName(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"https://shop.example/hooks", "https://shop.example:8443/x?y=z", "https://8.8.8.8/", "https://[2606:4700:4700::1111]/x", "https://tienda.cl", "https://xn--nandu-rta.cl/"} {
		require.NoError(t, CheckURL(u, false), u)
	}
	for _, u := range []string{
		"", "x", "//shop.example", "http://shop.example/", "ftp://shop.example", "https:", "https://", "https:shop.example", "https://:443/", "https://shop.example/#top", "https://a:b@shop.example/", "https://a@shop.example/",
		"https://localhost/", "https://LOCALHOST./", "https://a.localhost/", "https://printer/", "https://db.internal/", "https://nas.local", "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f.1/", "https://0x7f000001/",
		"https://1.0x1/", "https://10.0.0.1:8443/", "https://169.254.169.254/latest/meta-data", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fd00:ec2::254]/", "https://[fe80::1%25eth0]/", "https://shop.example\n.evil/", "https://" + strings.Repeat("a", 2000) + ".cl/",
	} {
		require.Error(t, CheckURL(u, false), u)
	}
	for _, u := range []string{"http://127.0.0.1:8080/x", "http://localhost/", "https://printer/"} {
		require.NoError(t, CheckURL(u, true), u)
	}
	for _, u := range []string{"ftp://localhost/", "http://a:b@localhost/", ""} {
		require.Error(t, CheckURL(u, true), u)
	}
}

// Whatever passes is https with a host and no password, and an address that it
// names is public, also in the ways in which resolvers read numbers.
func FuzzCheckURL(f *testing.F) {
	for _, u := range []string{"https://shop.example/x", "https://[::ffff:7f00:1]/", "https://0177.0.0.1/", "https://127.0.0.1.:443/", "https://a@b/", "https://[2002:7f00:1::]/", "https://①27.0.0.1/"} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if CheckURL(raw, false) != nil {
			return
		}
		u, err := url.Parse(raw)
		require.NoError(t, err)
		require.Equal(t, "https", u.Scheme)
		require.NotEmpty(t, u.Hostname())
		require.Nil(t, u.User)
		host := strings.TrimSuffix(u.Hostname(), ".")
		if ip := net.ParseIP(host); ip != nil {
			a, ok := netip.AddrFromSlice(ip)
			require.True(t, ok)
			require.True(t, Public(a.Unmap()), raw)
		}
		require.NotEqual(t, "localhost", strings.ToLower(host))
	})
}

// No address that Go's own rules call special passes, as 4 or as 16 bytes.
func FuzzPublic(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte{169, 254, 169, 254})
	f.Add(netip.MustParseAddr("::ffff:10.0.0.1").AsSlice())
	f.Add(netip.MustParseAddr("fd00::1").AsSlice())
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok || !Public(a) {
			return
		}
		require.False(t, a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a.Is4In6() || a.IsInterfaceLocalMulticast(), a)
		require.True(t, a.IsGlobalUnicast(), a)
	})
}
