// Package codec encrypts what Temporal stores: inputs, results, memos, details
// and failure texts. The server, its database and its backups see ciphertext,
// the length of it, and which kind of value it was.
package codec

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"justlogistics/internal/secretbox"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"
)

// The metadata of an encrypted payload. The first two are those of Temporal's
// own example (https://github.com/temporalio/samples-go/tree/main/encryption),
// which its tools show; the data are those of an AES-GCM box over the original
// payload in protobuf.
const (
	encodingEncrypted = "binary/encrypted"

	metadataKeyID       = "encryption-key-id"
	metadataOriginal    = "encryption-original-encoding"
	metadataCompression = "encryption-compression"

	compressionZlib = "zlib"
)

// Below this size zlib's header and the time outweigh what it saves.
const compressFrom = 512

// maxPlaintext bounds what one payload may inflate to. The server refuses
// payloads of a few MiB long before.
const maxPlaintext = 64 << 20

// ErrCorrupt tells that a payload marked as encrypted lacks its metadata or can
// not be opened. Errors of an absent key match secretbox.ErrUnknownKey instead.
var ErrCorrupt = errors.New("encrypted payload is damaged")

// New returns the codec that encrypts every payload with the keyring's first
// key and decrypts with any of them. It holds no state of a workflow and binds
// nothing of the namespace or workflow, so that the replayer and the codec
// endpoint, which know neither, can decode. A payload that was not encrypted by
// it (a signal from Temporal's command line) is passed through by Decode.
//
// Decode fails with secretbox.ErrUnknownKey when a key is missing: a new key goes
// to every process as a decrypting one before any process encrypts with it.
func New(keyring *secretbox.Keyring) converter.PayloadCodec { return &codec{keyring} }

// DataConverter is the SDK's default converter with the codec of New around it,
// for client.Options.DataConverter.
//
// Inside a workflow a missing key panics, everywhere else it is an error. The
// SDK would end a workflow for good over an input that it can not decode; a
// panic fails the task, which is tried again until a worker has the key
// (provided that the worker's WorkflowPanicPolicy is the default one).
func DataConverter(keyring *secretbox.Keyring) converter.DataConverter {
	return dataConverter{converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), New(keyring))}
}

type dataConverter struct{ converter.DataConverter }

// WithWorkflowContext is called by the SDK for conversions in a workflow task.
func (d dataConverter) WithWorkflowContext(converter.WorkflowContext) converter.DataConverter {
	return taskConverter(d)
}

func (d dataConverter) WithContext(context.Context) converter.DataConverter { return d }

type taskConverter struct{ converter.DataConverter }

func (t taskConverter) FromPayload(payload *commonpb.Payload, value any) error {
	return panicOverMissingKey(t.DataConverter.FromPayload(payload, value))
}

func (t taskConverter) FromPayloads(payloads *commonpb.Payloads, values ...any) error {
	return panicOverMissingKey(t.DataConverter.FromPayloads(payloads, values...))
}

func panicOverMissingKey(err error) error {
	if errors.Is(err, secretbox.ErrUnknownKey) {
		panic(err)
	}
	return err
}

// FailureConverter moves messages and stack traces of errors into a payload of
// dc, so that they are encrypted too; without it they lie readable in the
// history. Error types stay readable: they must not carry data.
func FailureConverter(dc converter.DataConverter) converter.FailureConverter {
	return temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
		DataConverter:          dc,
		EncodeCommonAttributes: true,
	})
}

type codec struct{ keyring *secretbox.Keyring }

func (c *codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	encoded := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		var err error
		if encoded[i], err = c.encrypt(p); err != nil {
			return payloads, fmt.Errorf("encrypt payload %d: %w", i, err)
		}
	}
	return encoded, nil
}

func (c *codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	decoded := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if string(p.GetMetadata()[converter.MetadataEncoding]) != encodingEncrypted {
			decoded[i] = p
			continue
		}
		var err error
		if decoded[i], err = c.decrypt(p); err != nil {
			return payloads, fmt.Errorf("decrypt payload %d: %w", i, err)
		}
	}
	return decoded, nil
}

func (c *codec) encrypt(p *commonpb.Payload) (*commonpb.Payload, error) {
	plaintext, err := proto.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	metadata := map[string][]byte{
		converter.MetadataEncoding: []byte(encodingEncrypted),
		metadataKeyID:              []byte(c.keyring.EncryptionKeyID()),
		metadataOriginal:           p.GetMetadata()[converter.MetadataEncoding],
	}
	if len(plaintext) >= compressFrom {
		small, err := deflate(plaintext)
		if err != nil {
			return nil, err
		}
		if len(small) < len(plaintext) {
			plaintext = small
			metadata[metadataCompression] = []byte(compressionZlib)
		}
	}
	_, box, err := c.keyring.Seal(plaintext, additionalData(metadata))
	if err != nil {
		return nil, err
	}
	return &commonpb.Payload{Metadata: metadata, Data: box}, nil
}

func (c *codec) decrypt(p *commonpb.Payload) (*commonpb.Payload, error) {
	keyID, ok := p.Metadata[metadataKeyID]
	if !ok {
		return nil, fmt.Errorf("%w: no %s in its metadata", ErrCorrupt, metadataKeyID)
	}
	plaintext, err := c.keyring.Open(string(keyID), p.Data, additionalData(p.Metadata))
	if errors.Is(err, secretbox.ErrUnknownKey) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if string(p.Metadata[metadataCompression]) == compressionZlib {
		if plaintext, err = inflate(plaintext); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	original := &commonpb.Payload{}
	if err := proto.Unmarshal(plaintext, original); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return original, nil
}

// additionalData binds the metadata that Decode acts on, each with its length
// in front, so that none can be changed or moved into another.
func additionalData(metadata map[string][]byte) []byte {
	var aad []byte
	for _, key := range []string{converter.MetadataEncoding, metadataKeyID, metadataOriginal, metadataCompression} {
		aad = binary.BigEndian.AppendUint32(aad, uint32(len(metadata[key])))
		aad = append(aad, metadata[key]...)
	}
	return aad
}

// A zlib writer allocates about a megabyte, far more than what it compresses.
var zlibWriters = sync.Pool{New: func() any { return zlib.NewWriter(io.Discard) }}

func deflate(b []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := zlibWriters.Get().(*zlib.Writer)
	defer zlibWriters.Put(w)
	w.Reset(&buf)
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return buf.Bytes(), nil
}

func inflate(b []byte) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxPlaintext+1))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(plain) > maxPlaintext {
		return nil, fmt.Errorf("decompress: more than %d bytes", maxPlaintext)
	}
	return plain, nil
}
