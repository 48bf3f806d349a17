package refund_test

import (
	"os"
	"testing"

	"justlogistics/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
