// Package sandbox is a stand-in for the payment providers and the carriers: it
// speaks their own wire formats, keeps state and a ledger of its own on disk, and
// lets a person or a script play the buyer, and what happens to a parcel. The product's adapters reach it by a base URL and
// nothing else; it shares no code with them, so that a misreading on one side
// cannot hide one on the other.
//
// # Where things are
//
//	/transbank/...                       base URL of the Webpay adapter
//	/stripe/...                          base URL of the Stripe adapter
//	/mercadopago/...                     base URL of the Mercado Pago adapter; a test storefront
//	                                     gets card tokens at /mercadopago/v1/card_tokens?public_key=TEST-...
//	/khipu/...                           base URL of the Khipu adapter
//	/flow/...                            base URL of the Flow adapter
//	/chilexpress/..., /bluexpress/...,
//	/correos/..., /starken/...           base URLs of the carriers' adapters
//	/twilio/...                          base URL for texts (SMS, WhatsApp)
//	GET  /mail                           the mails that were caught, a page
//	GET  /mail.json                      the same, ?to= ?limit=, the newest first
//	GET  /mail/{id}                      one mail, as JSON or for a browser; /mail/{id}/html, /mail/{id}/source
//	GET  /buyer/{id}                     the buyer's page; id is the merchant's payment id
//	                                     (buy_order, client_reference_id), a token or a session id
//	POST /buyer/{id}/{step}              approve, decline, abort, timeout, error
//	POST /buyer/{id}/return              plays the last return again; ?variant=abort plays another
//	PUT|GET|DELETE /faults/{provider}    see below
//	                                     GET also counts the calls so far, by operation
//	GET  /faults/{provider}/held         waits until ?min= answers are held, at most ?timeout_ms=
//	POST /faults/{provider}/release      lets the held answers go
//	PUT|GET /config/{provider}           see the provider's configuration type
//	POST /carriers/{tracking}/{status}   lets something happen to a parcel: handed_over,
//	                                     in_transit, out_for_delivery, delivered,
//	                                     delivery_failed, returned_to_sender, lost
//	GET  /ledger                         ?gateway= ?since=RFC3339
//	POST /ledger/charges, /ledger/refunds  entries made by hand, for tests of an audit
//	POST /ledger/refunds/{reference}/{succeed|fail}  a refund that is pending ends, or one that
//	                                     succeeded fails days later, where the provider knows that
//	POST /disputes/{payment id}/{open|won|lost}  the buyer's bank takes a payment back, and
//	                                     leaves it with the merchant in the end, or not
//	GET  /settlements/transbank          CSV of ?date=YYYY-MM-DD (Chile's day), ?account=commerce code
//	GET  /deliveries/{provider}          how many notifications wait, arrived, were dropped
//	GET  /events/{provider}              of which events it has told, the oldest first; they stay
//	                                     listed when a fault has dropped the notification
//	GET  /events/{provider}/{event}      the request that tells of one, signed as of now: method,
//	                                     url, header, body
//	POST /events/{provider}/{event}/resend  sends it once more
//	GET  /healthz
//
// # The scripted buyer
//
// A step answers 200 once the provider took it and the browser's return was
// played, whatever the merchant answered to it; 404 for an id that is unknown,
// 409 when the page is closed. Its query takes:
//
//	return=false          the browser never comes back
//	return_method=POST    Webpay comes back with POST instead of GET
//	card=debit|prepaid    Webpay, Flow: the kind of card (credit unless said)
//	installments=n        Webpay: in how many, by credit card
//	decline_code=...      Stripe: why the issuer declines
//	risk=elevated|highest Stripe: Radar's rating of the payment (normal unless said)
//	review=true           Stripe: Radar holds it up for a person
//	decline_code=bank_error  Khipu: DemoBank fails, and the buyer may try again
//	amount=n              the provider takes another amount than it was asked to
//
// A rejected card leaves the buyer on Mercado Pago's page; abort goes back with
// the text null in every field; timeout sends nobody anywhere. A card token that
// waits for a review (cardholder CONT) or a challenge is decided by the same
// steps; decline_code is its status_detail. PUT /config/mercadopago has refunds
// in process, unsigned copies of notifications, and a page that takes a second
// payment.
//
// Webpay plays a return at the end of each step. Stripe does after approve and
// abort; a declined card leaves the buyer on the page, and a session that
// expires sends nobody anywhere. Abort leaves a Stripe session open.
//
// Flow plays the same POST with the token after approve, decline and abort, and
// none after timeout and error. A declined order is over; one that the buyer
// left, or where the form broke, can be paid until its time is. A Flow refund is
// decided by its receiver after refund_seconds of PUT /config/flow.
//
// Khipu plays one after approve, which leaves the transfer in verification for a
// while (verifying_ms of its configuration) before it is money and notified, and
// after decline (the payer says no, which ends it) and abort (which does not).
// Its disputes are only ever lost.
//
// # Parcels
//
// A booking that a carrier takes is a parcel that is announced. By itself it is handed
// over, in transit, out for delivery and delivered, two minutes after it was booked;
// PUT /config/{carrier} changes that:
//
//	moves_ms       {"handed_over":n, ...}: how long it takes from one status to the named
//	               next one; 0: never by itself
//	fail_rate      tries at the door that find nobody; there is a second try, then the
//	               parcel goes back
//	lost_rate      parcels that are never seen again
//	issue_ms       how long a number takes of a carrier that gives it later (Starken)
//	zero_quotes    one of the offers costs nothing
//
// POST /carriers/{tracking}/{status} answers 404 for a number that no carrier has, and 409
// when the journey is over. Its query takes text, code and where, which the carrier tells
// in the place of its usual words: a state that nobody has heard of.
//
// # Faults
//
// Faults touch API calls and notifications, not the buyer's pages. Rates are
// drawn from one seeded source per provider:
//
//	latency_ms                  before each call acts
//	error_rate                  500 without acting
//	timeout_after_effect_rate   acts, persists, never answers
//	duplicate_webhooks          rate, or true for each
//	reordered_webhooks          rate, or true for each; delayed up to reorder_delay_ms (1500)
//	drop_webhooks               rate, or true for each: the event is never sent
//	outage                      rate, or true; outage_mode is "refuse" (cut, the default) or "503"
//	seed                        restarts the source
//	next                        [{"op","kind","count"}] for exact tests, used up in order
//
// The operations are create, status, commit, refund and capture for Transbank;
// create_session, get_session, list_sessions, expire_session, get_intent,
// list_intents, search_intents, capture_intent, cancel_intent, create_refund,
// get_refund, list_refunds, get_charge, list_charges, get_dispute,
// list_disputes, get_review, approve_review, get_event, list_events and
// get_account for Stripe; create, status, payments, refund, refund_cancel and
// refund_status for Flow; create_payment, get_payment, delete_payment,
// refund_payment and create_refund for Khipu; create_preference,
// get_preference, update_preference, search_preferences, create_card_token,
// create_payment, get_payment, search_payments, update_payment, create_refund,
// list_refunds, get_refund, search_chargebacks and get_chargeback for Mercado
// Pago; regions, coverage, offices, rate, create_order, label, lookup and track for
// Chilexpress; token, geo, price, emit, lookup, track and label for Blue Express;
// services, rate, admit, track and void for Correos; cities, comunas, agencies, quote,
// issue, lookup, track and label for Starken; create_message and get_message for
// twilio; rcpt and data for mail; "*" is any. Kinds:
//
//	timeout_after_effect   acts, persists, never answers
//	error_500              500 without acting
//	error_503              503 without acting
//	rate_limited           429 without acting
//	refuse                 the provider's own 4xx without acting; a carrier's no, which
//	                       may come with HTTP 200
//	cut_before             closes the connection without acting
//	cut_during             acts, persists, closes the connection in the middle of the answer
//	cut_after              acts, persists, closes the connection
//	hold_answer            acts, persists, answers after release
//
// # The ledger
//
// A charge is money taken: a Webpay transaction whose commit was approved, a
// Stripe intent that succeeded, a transfer that Khipu has reconciled. Status is
// captured, partially_refunded, refunded or reversed, disputed while the buyer's
// bank has it back and charged_back when it keeps it; an authorization that was
// not captured is listed as authorized, and as voided once it is given up or its
// time is over: neither took money. Each reversal or refund is an entry of
// refunds with status pending, succeeded or failed.
//
// A label is a booking that a carrier took: labels has carrier, reference (the
// merchant's), tracking (empty until it is given), status and voided. A message is a
// text that the provider took: channel, to, from, body, reference.
package sandbox
