-- Of a recoverable session there are
--   key     a string: token hash, end in milliseconds since 1970 (0: none), and the session as JSON
--   key:t   a string: the token hash that was used, until when that is remembered and, if a user tried it before the session
--           was stored, whether that is a guest, and the user: then it concerns sessions that this user may recover
--   key:o   a string: the token hash of a session that has passed on, and the connection that has it

-- Whether a user may recover a session: its own one or, for a guest, that of any guest.
local function may_recover(user, guest, session)
  local owner = cjson.decode(session).u
  return owner == user or (guest == '1' and string.sub(owner, 1, 6) == 'guest:')
end
