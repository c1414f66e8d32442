import { graphql } from 'relay-runtime';

export const GroupsQuery = graphql`
  query queriesGroupsQuery($count: Int!, $cursor: String) {
    ...queriesGroups_query
  }
`;

/** What usePaginationFragment needs: a refetchable fragment with a connection. */
export const GroupsFragment = graphql`
  fragment queriesGroups_query on Query @refetchable(queryName: "queriesGroupsPageQuery") {
    messageGroups(first: $count, after: $cursor) @connection(key: "queriesGroups_query_messageGroups") {
      edges {
        node {
          id
          participants {
            id
            displayName
          }
          lastMessage {
            id
            body
          }
        }
      }
    }
  }
`;

export const SendMutation = graphql`
  mutation queriesSendMutation($input: CreateMessageInput!) {
    createMessage(input: $input) {
      messageGroup {
        id
        lastMessage {
          id
          body
        }
      }
    }
  }
`;
