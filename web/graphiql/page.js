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

// GraphiQL's own fetcher does not read server-sent events. A result that is not one is JSON.
async function fetcher(params, { headers } = {}) {
  const accept = 'application/graphql-response+json, application/json, text/event-stream';
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: { ...headers, Accept: accept, 'Content-Type': 'application/json' },
    body: JSON.stringify(params),
  });
  const isStream = response.headers.get('Content-Type')?.startsWith('text/event-stream');
  return isStream ? results(response.body) : response.json();
}

async function* results(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
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
  } finally {
    await reader.cancel();
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
