-- list_users: mirrors domain/roster.rs
-- The room, and a page of its users: `limit` users after `after` (empty: from the first).
local user_id, is_admin, after, limit = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local why = open()
if why then return refuse(why) end
if not admits(user_id, is_admin) then return refuse('private') end
local known, users, total = {}, {}, 0
for _, text in ipairs(call('HVALS', members_key)) do
  local user = cjson.decode(text).w[1]
  if not known[user] then
    known[user], total = true, total + 1
    if user > after then users[#users + 1] = user end
  end
end
table.sort(users)
local list = {}
for at = 1, math.min(limit, #users) do list[at] = cjson.encode(users[at]) end
return done(view(false) .. ',"t":' .. total .. ',"us":[' .. table.concat(list, ',') .. '],"more":' ..
  (#users > limit and 1 or 0))
