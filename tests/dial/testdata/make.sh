#!/bin/sh
# Makes the certificates of this folder anew. See README.md.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

key() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$tmp/$1.ec"
  openssl pkcs8 -topk8 -nocrypt -in "$tmp/$1.ec" -out "$1.key"
}

# authority NAME COMMON_NAME
authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$2" -days 36500 -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# certificate NAME AUTHORITY USAGE SAN EXTRA_OPTIONS...
certificate() {
  name=$1 authority=$2
  printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$3" "$4" > "$tmp/$name.ext"
  shift 4
  key "$name"
  openssl req -new -key "$name.key" -subj "/CN=$name" -out "$tmp/$name.csr"
  openssl x509 -req -in "$tmp/$name.csr" -CA "$authority.crt" -CAkey "$authority.key" -set_serial "0x$(openssl rand -hex 8)" \
    -extfile "$tmp/$name.ext" -out "$name.crt" "$@"
}

# own NAME: as everybody makes one for a try, who is an authority then
own() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 36500 -out "$1.crt" \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1
}

authority ca "podwire test authority"
authority other-ca "podwire other test authority"
certificate server ca serverAuth DNS:localhost,IP:127.0.0.1,IP:::1 -days 36500
certificate named ca serverAuth DNS:cluster.test -days 36500
certificate client ca clientAuth DNS:client.test -days 36500
own self
own renewed
openssl pkcs8 -topk8 -passout pass:secret -in client.key -out client-encrypted.key
openssl ec -aes128 -passout pass:secret -in client.key -out client-proctype.key

# `openssl x509` cannot date back, `openssl ca` can.
key expired
openssl req -new -key expired.key -subj /CN=expired -out "$tmp/expired.csr"
touch "$tmp/index"
echo 01 > "$tmp/serial"
cat > "$tmp/ca.conf" <<CONF
[ca]
default_ca = test
[test]
database = $tmp/index
serial = $tmp/serial
new_certs_dir = $tmp
default_md = sha256
policy = any
[any]
commonName = supplied
CONF
openssl ca -batch -config "$tmp/ca.conf" -cert ca.crt -keyfile ca.key -notext -in "$tmp/expired.csr" \
  -extfile "$tmp/server.ext" -startdate 20200101000000Z -enddate 20200201000000Z -out expired.crt
rm ca.key other-ca.key
