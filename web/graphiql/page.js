// Starts GraphiQL 3.9.0 with the settings in the page.

const settings = JSON.parse(document.getElementById('settings').textContent);
const query = `# Send a message to another user, then look at your message groups.
mutation Send {
  createMessage(input: { to: { handle: "ben" }, body: "Hello!" }) {
    message { uuid body createdAt }
    messageGroup { uuid }
  }
}

query MessageGroups {
  messageGroups(first: 20) {
    nodes {
      uuid
      otherParticipant { handle displayName }
      lastMessage { author { handle } body }
      lastMessageAt
    }
  }
}

# Run this one, and send a message in another tab.
subscription NewMessages {
  feed {
    cursor
    ... on MessageAdded { message { author { handle } body } }
  }
}
`;

const END = { done: true, value: undefined };

// GraphiQL's own fetcher does not read server-sent events. A result that is not one is JSON.
async function fetcher(params, { headers } = {}) {
  const accept = 'application/graphql-response+json, application/json, text/event-stream';
  const request = new AbortController();
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: { ...headers, Accept: accept, 'Content-Type': 'application/json' },
    body: JSON.stringify(params),
    signal: request.signal,
  });
  const isStream = response.headers.get('Content-Type')?.startsWith('text/event-stream');
  if (!isStream) return response.json();
  const events = results(response.body);
  // The button "Stop" calls `return`. That of a generator waits for the next event, and the connection would stay open.
  return {
    [Symbol.asyncIterator]: () => ({
      next: () =>
        events.next().catch((error) => {
          if (!request.signal.aborted) throw error;
          return END;
        }),
      return: async () => {
        request.abort();
        return END;
      },
    }),
  };
}

async function* results(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (text + value).split('\n\n');
    text = events.pop();
    for (const event of events) {
      const data = /^data: (.+)$/m.exec(event);
      if (data) yield JSON.parse(data[1]);
    }
  }
}

if (window.GraphiQL) {
  ReactDOM.createRoot(document.getElementById('graphiql')).render(
    React.createElement(GraphiQL, {
      fetcher,
      defaultHeaders: settings.headers ?? undefined,
      initialHeaders: settings.headers ?? undefined,
      defaultEditorToolsVisibility: 'headers',
      defaultQuery: query,
      shouldPersistHeaders: false,
    }),
  );
}
