-- Of a recoverable session there are
--   key     a string: token hash, end in milliseconds since 1970 (0: none), and the session as JSON
--   key:t   a string: the token hash that was used, and until when that is remembered
--   key:o   a string: the token hash of a session that has passed on, and the connection that has it

