#!/bin/sh
# Nothing but curl: what the hub is, which models it has, and an answer as it is written.
#   IDLEWILD_KEY=… sh examples/curl.sh "What news from Rome?"
set -eu
url=${IDLEWILD_URL:-http://127.0.0.1:7860}
key=${IDLEWILD_KEY:?set it to the key that npm start prints}
model=${IDLEWILD_MODEL:-jacobean}
question=${1:-What news from Rome?}

# The key goes to curl on its standard input: a command line can be read by everybody on the machine.
ask() {
  path=$1
  shift
  printf 'header = "Authorization: Bearer %s"\n' "$key" |
    curl --silent --show-error --fail-with-body --config - "$@" "$url$path"
}

echo "the hub:"
curl --silent --show-error --fail "$url/.well-known/idlewild"
echo
echo "its models:"
ask /v1/models
echo

# Quotes and backslashes of the question must not end the JSON text that it stands in.
quoted=$(printf '%s' "$question" | tr '\n\t' '  ' | sed 's/[\\"]/\\&/g')
body='{"model": "'$model'", "stream": true, "max_tokens": 24, "messages": [{"role": "user", "content": "'$quoted'"}]}'
echo "an answer, one event for each token:"
ask /v1/chat/completions --no-buffer --header 'Content-Type: application/json' --data "$body"
