package codec_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"justlogistics/internal/codec"
	"justlogistics/internal/secretbox"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"
)

const uiOrigin = "http://localhost:8233"

func post(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/codec/decode", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", uiOrigin)
	r.Header.Set("X-Namespace", "default")
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func encrypted(t *testing.T, keyring *secretbox.Keyring, values ...any) string {
	payloads, err := codec.DataConverter(keyring).ToPayloads(values...)
	require.NoError(t, err)
	body, err := protojson.Marshal(payloads)
	require.NoError(t, err)
	return string(body)
}

func TestHandler_DecodesForTheUI(t *testing.T) {
	t.Parallel()
	keyring := oneKey(t)
	w := serve(codec.Handler(keyring, uiOrigin), post(encrypted(t, keyring, "held in SCL-1", 2)))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, uiOrigin, w.Header().Get("Access-Control-Allow-Origin"))
	require.Equal(t, "Origin", w.Header().Get("Vary"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))

	var payloads commonpb.Payloads
	require.NoError(t, protojson.Unmarshal(w.Body.Bytes(), &payloads))
	var (
		text  string
		units int
	)
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(&payloads, &text, &units))
	require.Equal(t, "held in SCL-1", text)
	require.Equal(t, 2, units)
}

func TestHandler_ServesTemporalsOwnRemoteCodec(t *testing.T) {
	t.Parallel()
	keyring := oneKey(t)
	server := httptest.NewServer(codec.Handler(keyring, uiOrigin))
	t.Cleanup(server.Close)
	p, err := codec.DataConverter(keyring).ToPayload("text")
	require.NoError(t, err)
	remote := converter.NewRemoteDataConverter(converter.GetDefaultDataConverter(), converter.RemoteDataConverterOptions{Endpoint: server.URL + "/codec"})
	var text string
	require.NoError(t, remote.FromPayload(p, &text))
	require.Equal(t, "text", text)
	_, err = remote.ToPayload("text")
	require.Error(t, err, "it must never encrypt")
}

func TestHandler_AnswersThePreflightOfItsOneOrigin(t *testing.T) {
	t.Parallel()
	h := codec.Handler(oneKey(t), uiOrigin+"/")
	r := httptest.NewRequest(http.MethodOptions, "/codec/decode", nil)
	r.Header.Set("Origin", uiOrigin)
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-namespace")
	w := serve(h, r)
	require.Equal(t, http.StatusNoContent, w.Code)
	require.Equal(t, uiOrigin, w.Header().Get("Access-Control-Allow-Origin"))
	require.Contains(t, w.Header().Get("Access-Control-Allow-Methods"), "POST")
	for _, header := range []string{"Authorization", "Content-Type", "X-Namespace"} {
		require.Contains(t, w.Header().Get("Access-Control-Allow-Headers"), header)
	}
}

func TestHandler_RefusesEveryOtherOrigin(t *testing.T) {
	t.Parallel()
	keyring := oneKey(t)
	body := encrypted(t, keyring, "secret text")
	for _, c := range []struct{ allowed, origin string }{
		{uiOrigin, "https://evil.example"}, {uiOrigin, "http://localhost:8233.evil.example"}, {uiOrigin, "null"},
		{uiOrigin, "http://localhost:82330"}, {"", uiOrigin}, {"", "null"}, {"*", uiOrigin},
	} {
		for _, method := range []string{http.MethodPost, http.MethodOptions} {
			r := post(body)
			r.Method = method
			r.Header.Set("Origin", c.origin)
			w := serve(codec.Handler(keyring, c.allowed), r)
			require.Equal(t, http.StatusForbidden, w.Code, "%+v", c)
			require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
			require.NotContains(t, w.Body.String(), "payloads\"")
		}
	}
}

func TestHandler_RefusesWhatItCanNotDecode(t *testing.T) {
	t.Parallel()
	keyring := oneKey(t)
	other := ring(t, "k9:"+secretbox.GenerateKey())
	h := codec.Handler(keyring, uiOrigin)

	w := serve(h, post(encrypted(t, other, "text")))
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Contains(t, w.Body.String(), `"k9"`)
	require.Equal(t, uiOrigin, w.Header().Get("Access-Control-Allow-Origin"), "or the UI can't show why")

	for _, body := range []string{"", "{", `{"payloads":1}`, `[]`, `{"payloads":[{"data":"%%%"}]}`} {
		require.Equal(t, http.StatusBadRequest, serve(h, post(body)).Code, body)
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, serve(h, post(strings.Repeat(" ", 1<<20)+"{}")).Code)

	r := post("{}")
	r.Header.Set("Content-Type", "text/plain")
	require.Equal(t, http.StatusUnsupportedMediaType, serve(h, r).Code)
	r = post("{}")
	r.Method = http.MethodGet
	w = serve(h, r)
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, "POST, OPTIONS", w.Header().Get("Allow"))
	r = post("{}")
	r.URL.Path = "/codec/encode"
	require.Equal(t, http.StatusNotFound, serve(h, r).Code)
}
