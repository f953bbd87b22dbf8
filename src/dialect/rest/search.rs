//! The list of rooms that a backend searches, page by page.

use std::borrow::Cow;

use super::encode::listed_fields;
use crate::base::ids::is_name;
use crate::base::limits;
use crate::codec::http::sole_query_value;
use crate::codec::json::Object;
use crate::domain::op::RoomView;
use crate::domain::query::{RoomPage, RoomsPage};
use crate::domain::reject::Reject;

/// Rooms in one page if the query does not say.
const PAGE_DEFAULT: usize = 50;

/// Reads the page from a query: `?prefix=` is the beginning of the ids, `?search=` a part of the names, `?after=` the `next` of
/// the page before, `?limit=` the size.
///
/// # Errors
/// A value is not of its form, or is given twice.
pub fn rooms_page(query: Option<&str>) -> Result<RoomsPage, Reject> {
    let value = |name: &str| -> Result<Option<Cow<'_, str>>, Reject> {
        let found = query.map_or(Ok(None), |query| sole_query_value(query, name));
        found.map_err(|fault| Reject::invalid(format!("{name} {}", fault.text())))
    };
    let id = |name: &str| match value(name)? {
        Some(text) if !is_name(&text) => Err(Reject::invalid(format!("{name} must be an id"))),
        text => Ok(text),
    };
    let text = value("search")?.unwrap_or_default();
    if text.chars().count() > limits::SEARCH_CHARS {
        return Err(Reject::invalid(format!("search must have at most {} characters", limits::SEARCH_CHARS)));
    }
    let limit = match value("limit")? {
        Some(text) => text.parse().ok().filter(|limit| (1..=limits::ROOMS_SEARCHED).contains(limit)),
        None => Some(PAGE_DEFAULT),
    };
    let wrong = || Reject::invalid(format!("limit must be an integer from 1 to {}", limits::ROOMS_SEARCHED));
    Ok(RoomsPage {
        prefix: id("prefix")?.map_or_else(Default::default, |id| id.as_ref().into()),
        text: text.to_lowercase().into(),
        after: id("after")?.map(|id| id.as_ref().into()),
        limit: limit.ok_or_else(wrong)?,
    })
}

/// The answer.
pub(super) fn page(out: &mut Vec<u8>, page: &RoomPage) {
    let mut object = Object::begin(out);
    object.list("rooms", &page.rooms, room).optional("next", page.until.as_deref()).end();
}

/// A room in a list: without its participants, of which there can be many.
fn room(out: &mut Vec<u8>, view: &RoomView) {
    let mut object = Object::begin(out);
    listed_fields(&mut object, view);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_rooms_is_read_from_the_query() {
        let page = rooms_page(Some("prefix=order-&search=Green%20TEA&after=order-17&limit=2")).expect("a page");
        let expected =
            RoomsPage { prefix: "order-".into(), text: "green tea".into(), after: Some("order-17".into()), limit: 2 };
        assert_eq!(page, expected);
        assert_eq!(rooms_page(None), Ok(RoomsPage { limit: PAGE_DEFAULT, ..RoomsPage::default() }));
        assert_eq!(rooms_page(Some("search=")), rooms_page(None));
        let long = format!("search={}", "x".repeat(limits::SEARCH_CHARS + 1));
        for query in [
            "limit=0",
            "prefix=",
            "after=",
            "limit=101",
            "limit=x",
            "prefix=%00",
            "after=%00",
            "search=%ff",
            "limit=1&limit=2",
            &long,
        ] {
            assert!(rooms_page(Some(query)).is_err(), "{query}");
        }
    }
}
