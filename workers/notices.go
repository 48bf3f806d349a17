package workers

import (
	"context"
	"time"

	"justlogistics/internal/httpclient"
	"justlogistics/internal/notice"
)

// noticesIdle is how long a notice may wait for a sender that has nothing to do.
const noticesIdle = time.Second

// sendNotices tells buyers what becomes of their orders until ctx ends. The rows
// are claimed one batch at a time, so that several workers share them.
func sendNotices(ctx context.Context, d Deps) {
	if d.Mail == nil {
		d.Logger.Warn("no mail is sent: SMTP_URL is not set. Notices by mail are kept as suppressed and can be sent again later")
	}
	sender := &notice.Sender{DB: d.DB, PublicURL: d.PublicURL, Mail: d.Mail, Keys: d.CredentialKeys, Client: httpclient.New(httpclient.Options{Timeout: 20 * time.Second}), Logger: d.Logger}
	for ctx.Err() == nil {
		n, err := sender.Round(ctx)
		if err != nil && ctx.Err() == nil {
			d.Logger.Warn("notices: will be tried again", "error", err)
		}
		if n < notice.Batch || err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(noticesIdle):
			}
		}
	}
}
